// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// follower is a client that comes back whenever its connection ends, to whichever
// pod, and says from where.
type follower struct {
	// Guarded by mu.
	mu      sync.Mutex
	numbers []int
	offset  string
	came    int // connections
	lost    int // that were not recovered
}

func follow(ctx context.Context, pusher, channel string) *follower {
	f := &follower{}
	go func() {
		for ctx.Err() == nil {
			f.connect(ctx, pusher, channel)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return f
}

// connect listens until the connection ends.
func (f *follower) connect(ctx context.Context, pusher, channel string) {
	at, err := address(shop, pusher+"-clients")
	if err != nil {
		return
	}
	f.mu.Lock()
	query := ""
	if f.offset != "" {
		query = "?since=" + f.offset
	}
	f.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, br, _, err := ws.Dial(within, "ws://"+at+"/ws/"+channel+query)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var r interface{ Read([]byte) (int, error) } = conn
	if br != nil {
		r = br
	}
	for {
		frame, err := ws.ReadFrame(r)
		if err != nil || frame.Header.OpCode == ws.OpClose {
			return
		}
		if frame.Header.OpCode == ws.OpPing {
			_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewPongFrame(frame.Payload)))
		}
		f.take(frame.Payload)
	}
}

func (f *follower) take(text []byte) {
	var m struct {
		Type, Offset string
		Recovered    *bool
		Data         int
	}
	if json.Unmarshal(text, &m) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Offset != "" {
		f.offset = m.Offset
	}
	switch m.Type {
	case "welcome":
		f.came++
		if m.Recovered != nil && !*m.Recovered {
			f.lost++
		}
	case "event":
		f.numbers = append(f.numbers, m.Data)
	}
}

func (f *follower) state() (numbers []int, came, lost int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.numbers...), f.came, f.lost
}

// publisher publishes numbers, each until it is taken.
type publisher struct {
	pusher, channel, token, at string
	next                       int
}

func (p *publisher) publish() {
	GinkgoHelper()
	Eventually(func() (int, error) {
		var err error
		if p.at == "" {
			if p.at, err = address(shop, p.pusher+"-events"); err != nil {
				return 0, err
			}
		}
		body := fmt.Sprintf(`{"event":"n","id":"number-%d","data":%d}`, p.next, p.next)
		req, err := http.NewRequest(http.MethodPost, "http://"+p.at+"/v1/channels/"+p.channel+"/events", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+p.token)
		// A connection of its own: each goes to any of the pods.
		resp, err := (&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		}}).Do(req)
		if err != nil {
			p.at = ""
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}).Should(Equal(http.StatusOK))
	p.next++
}

// crowd is a Channel's clients and its publisher, while things happen.
type crowd struct {
	followers []*follower
	publisher *publisher
}

func watchWith(ctx context.Context, pusher, channel string) *crowd {
	GinkgoHelper()
	c := &crowd{publisher: &publisher{pusher: pusher, channel: channel, token: strings.TrimSpace(kubectl("create", "token", "default", "-n", shop, "--audience", "push.klaxon.dev"))}}
	for range 12 {
		c.followers = append(c.followers, follow(ctx, pusher, channel))
	}
	for _, f := range c.followers {
		Eventually(func() int { _, came, _ := f.state(); return came }).Should(Equal(1))
	}
	return c
}

// while publishes until something is done.
func (c *crowd) while(what string, done func() bool) {
	GinkgoHelper()
	begun, from := time.Now(), c.publisher.next
	for !done() {
		c.publisher.publish()
		Expect(time.Since(begun)).To(BeNumerically("<", 3*time.Minute), what)
		time.Sleep(10 * time.Millisecond)
	}
	AddReportEntry(fmt.Sprintf("published while %s, in %s", what, time.Since(begun).Round(100*time.Millisecond)), c.publisher.next-from)
}

func (c *crowd) some() func() bool {
	until := c.publisher.next + 50
	return func() bool { return c.publisher.next >= until }
}

// missNothing checks that each client has every event once, in order, without ever
// having been told that it has lost one.
func (c *crowd) missNothing() {
	GinkgoHelper()
	want := make([]int, c.publisher.next)
	for i := range want {
		want[i] = i
	}
	for _, f := range c.followers {
		Eventually(func() int { numbers, _, _ := f.state(); return len(numbers) }).Should(BeNumerically(">=", len(want)))
		numbers, _, lost := f.state()
		Expect(numbers).To(Equal(want))
		Expect(lost).To(BeZero())
	}
}
