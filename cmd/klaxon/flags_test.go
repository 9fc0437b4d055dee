// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseTakesFlagsAnywhere(t *testing.T) {
	for line, want := range map[string]string{
		"URL --room a --count 3":           "URL rooms=a count=3",
		"--room a URL --room=b -count 3":   "URL rooms=a,b count=3",
		"--count 3 -- URL":                 "URL rooms= count=3",
		"URL - --count 1":                  "URL - rooms= count=1",
		"":                                 " rooms= count=0",
		"URL --nosuch":                     "error",
		"--count x":                        "error",
		"URL --room a:1 --room b*c --room": "error",
	} {
		flags := flag.NewFlagSet("test", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		var rooms list
		flags.Var(&rooms, "room", "")
		count := flags.Int("count", 0, "")
		others, err := parse(flags, strings.Fields(line))
		got := strings.Join(others, " ") + " rooms=" + rooms.String() + " count=" + flags.Lookup("count").Value.String()
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q is %q (%d), want %q", line, got, *count, want)
		}
	}
}

func TestTokenSource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KLAXON_TEST_TOKEN", " other ")
	t.Setenv("KLAXON_TEST_EMPTY", "")
	for _, tc := range []struct {
		src  tokenSource
		want string
		ok   bool
	}{
		{tokenSource{}, "", true},
		{tokenSource{file: file}, "secret", true},
		{tokenSource{env: "KLAXON_TEST_TOKEN"}, "other", true},
		{tokenSource{env: "KLAXON_TEST_EMPTY"}, "", false},
		{tokenSource{file: file + "x"}, "", false},
		{tokenSource{file: file, env: "KLAXON_TEST_TOKEN"}, "", false},
	} {
		got, err := tc.src.read()
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("%+v: %q, %v", tc.src, got, err)
		}
	}
}

func TestEveryCommandSaysWhatItDoes(t *testing.T) {
	var out strings.Builder
	usage(&out)
	for name, c := range commands {
		if c.does == "" || c.run == nil || !strings.Contains(out.String(), c.does) {
			t.Errorf("%s is not in the usage", name)
		}
	}
}
