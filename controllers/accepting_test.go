// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func TestWhichPodsClientsAreSentTo(t *testing.T) {
	// A pod: ready unless it begins with "!", its percentage with "%" when it is full,
	// "?" when it cannot be asked; in brackets: the Service does not lead to it now.
	read := func(s string) podView {
		p := podView{accepting: !strings.HasPrefix(s, "(")}
		s = strings.Trim(s, "()")
		p.ready = !strings.HasPrefix(s, "!")
		if s == "?" {
			return p
		}
		p.status = &settings.Status{Full: strings.HasSuffix(s, "%")}
		for _, c := range strings.Trim(s, "!%") {
			p.status.MemoryPercent = p.status.MemoryPercent*10 + c - '0'
		}
		return p
	}
	for pods, want := range map[string]string{
		"":                          "",
		"50":                        "+",
		"95%":                       "+", // there is no other
		"(95%)":                     "+", // there was another
		"95% 50":                    "-+",
		"85% 95%":                   "+-",
		"(85%) 95%":                 "-+", // has left already
		"(75) 95%":                  "+-", // is not full any more
		"(75) (95%)":                "+-",
		"(85%) (95%)":               "+-",
		"81% 82% 83%":               "++-",
		"81% 82% 83% 84%":           "++--",
		"81% (82%) 83% 84%":         "+-+-",
		"(?) 95%":                   "-+", // half have left
		"(?) (?) 95% 95%":           "--++",
		"? 95%":                     "+-",
		"!0 95%":                    "++", // who is not ready is no other
		"(!0) 95%":                  "-+",
		"! 95% 50 50":               "+-++",
		"90% 91% 92% 93% 94% 50 50": "++---++",
	} {
		var views []podView
		for _, s := range strings.Fields(pods) {
			views = append(views, read(s))
		}
		got := ""
		for _, a := range accepting(views) {
			got += map[bool]string{true: "+", false: "-"}[a]
		}
		if got != want {
			t.Errorf("%q: %s, want %s", pods, got, want)
		}
	}
}

func TestClientsAreSentElsewhere(t *testing.T) {
	fake := &fakePods{revision: map[string]string{"1": "new", "2": "new"}, full: map[string]bool{"1": true}, nudged: map[string][]string{}}
	r, round := newRollouts(fake, fake), roundOf(nil)
	in := &gathered{pusher: round.pusher, pods: []corev1.Pod{podAt("a", "1"), podAt("b", "2")}}
	round.pods = r.observe(t.Context(), in, round)
	if want := []string{`{"metadata":{"labels":{"push.klaxon.dev/accepting":"false"}}}`}; !slices.Equal(fake.nudged["a"], want) || len(fake.nudged) != 1 {
		t.Errorf("patches %v", fake.nudged)
	}
	if v := pusherReady(round); v.message != "Clients can connect, but 1 of 2 ready pods use more memory than limits.memoryPercent: add replicas or memory" {
		t.Errorf("says %q", v.message)
	}
	fake.nudged = map[string][]string{}
	round.pusher.Spec.Paused = true
	if r.observe(t.Context(), in, round); len(fake.nudged) != 0 {
		t.Errorf("patches of what is paused: %v", fake.nudged)
	}
}
