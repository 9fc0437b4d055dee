// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/klaxon-dev/klaxon/test/chaos/account"
	"github.com/klaxon-dev/klaxon/test/chaos/machine"
	"github.com/klaxon-dev/klaxon/test/chaos/publish"
)

// write writes the stories of clients that were wronged beside the logs.
func (r *run) write() error {
	return r.each(func(ch *channel, i int) error {
		story := ch.clients[i].Story()
		v := account.Judge(ch.log, story)
		if !v.Bad() {
			return nil
		}
		var b bytes.Buffer
		for _, m := range story.Moments() {
			fmt.Fprintln(&b, m.String())
		}
		return os.WriteFile(filepath.Join(r.dir, "logs", "story of "+story.Name), b.Bytes(), 0o600)
	})
}

// compare asks every replica for the history of the first channel, which keeps
// everything: it must be what was acknowledged, each event once and in order.
func (r *run) compare(ctx context.Context, m *machine.Machine) error {
	ch := r.channels[0]
	if r.options.memory || ch.log == nil {
		return nil // what was kept may have gone with a process
	}
	for _, p := range m.Replicas {
		next := 0
		for since, more := "", true; more; {
			q := url.Values{"limit": {"1000"}}
			if since != "" {
				q.Set("since", since)
			}
			page, err := history(ctx, "http://"+p.Events+"/v1/channels/"+ch.settings.Name+"/events?"+q.Encode(), m.Token)
			if err != nil {
				return fmt.Errorf("history of %s: %w", p.Name(), err)
			}
			for _, e := range page.Events {
				if next == len(ch.log.Events) {
					return fmt.Errorf("history of %s: %+v is stored and was never acknowledged", p.Name(), e)
				}
				if want := &ch.log.Events[next]; e.Offset != want.Position.String() || e.ID != want.String() {
					return fmt.Errorf("history of %s: %s at %s, where %s at %s was acknowledged", p.Name(), e.ID, e.Offset, want.Key, want.Position)
				}
				next++
			}
			since, more = page.Next, page.More
		}
		if next != len(ch.log.Events) {
			return fmt.Errorf("history of %s: has %d of %d acknowledged events", p.Name(), next, len(ch.log.Events))
		}
	}
	r.say("the history of every pusher is what was acknowledged")
	return nil
}

// page is an answer of the history.
type page struct {
	Events []struct {
		ID, Offset string
		Data       publish.Data
	}
	Next string
	More bool
}

func history(ctx context.Context, url, token string) (p page, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return p, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return p, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return p, fmt.Errorf("answered %s", resp.Status)
	}
	return p, json.NewDecoder(resp.Body).Decode(&p)
}
