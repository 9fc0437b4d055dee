// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	f, err := parse([]string{"--image=klaxon:1", "--watch-namespaces=a, b,", "--leader-elect", "--status-interval=30s", "--log-level=debug", "--log-format=text"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.controllers.Namespaces, []string{"a", "b"}) || f.controllers.StatusInterval != 30*time.Second || !f.leaderElection {
		t.Errorf("got %+v", f)
	}
	if f, err = parse([]string{"--image=klaxon:1"}); err != nil || len(f.controllers.Namespaces) != 0 || f.leaderElection {
		t.Errorf("defaults: %+v, %v; want all namespaces and no election", f, err)
	}
	if f, err = parse([]string{"--version"}); err != nil || !f.version {
		t.Errorf("--version alone: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                                     "--image is required",
		"--image=i extra":                      "unexpected argument",
		"--image=i --status-interval=10ms":     "at least 1s",
		"--image=i --log-format=xml":           "json or text",
		"--image=i --log-level=loud":           "log-level",
		"--image=i --status-interval=sometime": "status-interval",
	} {
		_, err := parse(strings.Fields(args))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}
