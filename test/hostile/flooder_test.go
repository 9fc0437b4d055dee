// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// asFlooder has the test's own binary flood: the attacker is a process of its own, so
// that what slows witnesses is the server, not the attacker's goroutines.
const asFlooder = "KLAXON_TEST_AS_FLOODER"

// flood is what a flooder sends on each of its connections.
type flood struct {
	Addr, Path string
	// First is sent once, Burst again and again, Last in the end.
	First, Burst, Last []byte
	// Answer to Last. Without one the attacker may be closed with 4008: it asks for more
	// than it may have time to read.
	Answer string
}

// flooders is how many connections flood at once.
const flooders = 8

// flood runs a flooder, and reports what it says.
func (a *arena) flood(f flood) {
	a.Helper()
	f.Addr = a.clients
	order, err := json.Marshal(f)
	if err != nil {
		a.Fatal(err)
	}
	cmd := exec.CommandContext(a.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asFlooder+"=1")
	cmd.Stdin = bytes.NewReader(order)
	if out, err := cmd.CombinedOutput(); err != nil {
		a.Errorf("%v: %s", err, out)
	}
}

// beFlooder is the flooder's program.
func beFlooder(order io.Reader) error {
	var f flood
	if err := json.NewDecoder(order).Decode(&f); err != nil {
		return err
	}
	errs := make([]error, flooders)
	var running sync.WaitGroup
	for i := range flooders {
		running.Go(func() { errs[i] = f.run() })
	}
	running.Wait()
	return errors.Join(errs...)
}

func (f *flood) run() error {
	c, err := net.Dial("tcp", f.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(siege + patience)); err != nil {
		return err
	}
	if _, err := io.WriteString(c, handshake(f.Path)+string(f.First)); err != nil {
		return err
	}
	in := bufio.NewReaderSize(c, 64<<10)
	if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("the handshake is answered %v (%w)", resp, err)
	}
	read := make(chan error, 1)
	go func() { read <- find(in, f.Answer) }()
	err = besiege(func() error {
		_, err := c.Write(f.Burst)
		return err
	})
	if err == nil {
		_, err = c.Write(f.Last)
	}
	if f.Answer == "" && err == nil {
		return nil
	}
	if f.Answer == "" {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if end := <-read; !strings.Contains(end.Error(), tooSlow) {
			return errors.Join(err, end)
		}
		return nil
	}
	return errors.Join(err, <-read)
}

// tooSlow is in what find says when the connection was closed with 4008.
const tooSlow = "\\x0f\\xa8"

// find reads until something comes.
func find(r io.Reader, what string) error {
	var last string
	for b := make([]byte, 64<<10); ; {
		n, err := r.Read(b)
		both := last + string(b[:n])
		switch {
		case what != "" && strings.Contains(both, what):
			return nil
		case err != nil:
			return fmt.Errorf("no %s, but %w behind %.300q", what, err, both[max(0, len(both)-300):])
		}
		last = both[max(0, len(both)-len(what)-300):]
	}
}

// pinging repeats frames, and asks in the end whether it is still served.
func pinging(frames string) flood {
	return flood{
		Path: "/ws/recovery", Burst: []byte(strings.Repeat(frames, 16<<10/len(frames))),
		Last: []byte(text("{\"type\":\"ping\",\"ref\":\"still here\"}")), Answer: "\"ref\":\"still here\"",
	}
}
