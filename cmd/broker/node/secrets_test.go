// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseCredentials(t *testing.T) {
	got, err := parseCredentials([]byte("\npusher-1:0123456789abcdef\r\npusher-2:with:colon:89abcdef\n"))
	if err != nil || len(got) != 2 || got[0] != (credential{"pusher-1", "0123456789abcdef"}) || got[1].password != "with:colon:89abcdef" {
		t.Errorf("got %v, %v", got, err)
	}
	for text, want := range map[string]string{
		"":                                       "there are none",
		"\n \n":                                  "there are none",
		"0123456789abcdef":                       "line 1 is not NAME:PASSWORD",
		":0123456789abcdef":                      "line 1 is not",
		"a:0123456789abcde":                      "at least 16 bytes",
		"a:$2a$0123456789ab":                     "begins with $2",
		"a:0123456789abcdef\na:fedcba9876543210": "line 2: a second password needs a second name",
	} {
		if _, err := parseCredentials([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		} else if strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%q: the error shows the password: %v", text, err)
		}
	}
}

func TestReadSecretsRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file, text, want string
	}{
		"clients": {"clients", "", "credentials of clients"},
		"routes":  {"routes", "", "credentials of routes"},
		"admin":   {"admin", "the token itself", "not a SHA-256"},
		"short":   {"admin", "abcd", "not a SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, func(*Config) {})
			if err := os.WriteFile(filepath.Join(cfg.CredentialsDir, c.file), []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := cfg.readSecrets(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	cfg := config(t, func(c *Config) { c.TLSDir = t.TempDir() })
	if _, err := cfg.readSecrets(); err == nil || !strings.Contains(err.Error(), "tls.crt and tls.key") {
		t.Errorf("without certificates: %v", err)
	}
}

func TestRoute(t *testing.T) {
	s := &secrets{routes: []credential{{"node-1", "one"}, {"node-2", "two"}}}
	for who, want := range map[credential]bool{
		{"node-1", "one"}: true, {"node-2", "two"}: true,
		{"node-1", "two"}: false, {"node-2", "one"}: false, {"", ""}: false, {"node-1", ""}: false,
	} {
		if s.route(who.name, who.password) != want {
			t.Errorf("%v: want %t", who, want)
		}
	}
	if (&secrets{}).route("", "") {
		t.Error("let in though nobody may come in")
	}
}
