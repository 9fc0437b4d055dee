// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package deflate

import (
	"strings"
	"testing"

	"github.com/gobwas/httphead"
	"github.com/gobwas/ws/wsflate"
)

func TestNegotiate(t *testing.T) {
	const no = ""
	const bits = agreed + "; server_max_window_bits=15"
	for offers, want := range map[string]string{
		"":                   no,
		"permessage-deflate": agreed,
		"permessage-deflate; client_max_window_bits":                                                            agreed, // browsers and npm's ws
		"permessage-deflate;client_max_window_bits=8 ; client_no_context_takeover\t;server_no_context_takeover": agreed,
		"permessage-deflate; server_max_window_bits=15":                                                         bits,
		`permessage-deflate; server_max_window_bits="15"`:                                                       bits,
		`permessage-deflate; server_max_window_bits="1\5"`:                                                      bits,
		"permessage-deflate; server_max_window_bits = 15":                                                       bits,
		"permessage-deflate; server_max_window_bits=10; client_max_window_bits, permessage-deflate":             agreed,
		"permessage-deflate; server_max_window_bits=15, permessage-deflate":                                     bits,
		"permessage-deflate, permessage-deflate; server_max_window_bits=15":                                     agreed,
		"x-webkit-deflate-frame, foo; a=1; b=\"2\"; c, permessage-deflate":                                      agreed,
		", ,permessage-deflate,,":                                                                               agreed,

		// declined
		"permessage-bzip2": no,
		"permessage-deflate; server_max_window_bits=10":                                 no,
		"permessage-deflate; server_max_window_bits=8":                                  no,
		"permessage-deflate; server_max_window_bits":                                    no,
		"permessage-deflate; server_max_window_bits=16":                                 no,
		"permessage-deflate; server_max_window_bits=015":                                no,
		"permessage-deflate; client_max_window_bits=7":                                  no,
		"permessage-deflate; client_max_window_bits=16":                                 no,
		"permessage-deflate; client_max_window_bits=08":                                 no,
		"permessage-deflate; client_max_window_bits=x":                                  no,
		"permessage-deflate; client_no_context_takeover=true":                           no,
		"permessage-deflate; server_no_context_takeover=1":                              no,
		"permessage-deflate; foo":                                                       no,
		"permessage-deflate; foo=1; client_max_window_bits":                             no,
		"permessage-deflate; server_no_context_takeover; server_no_context_takeover":    no,
		"permessage-deflate; client_max_window_bits; client_max_window_bits=15":         no,
		"permessage-deflate; server_max_window_bits=15; server_max_window_bits=15":      no,
		"permessage-deflate; foo; foo, permessage-deflate; server_no_context_takeover=": no,

		// malformed, the good offers beside it too
		";":                                  no,
		"=":                                  no,
		"permessage-deflate;":                no,
		"permessage-deflate; ;":              no,
		"permessage-deflate; a=":             no,
		"permessage-deflate; a=\"":           no,
		"permessage-deflate; a=\"b":          no,
		"permessage-deflate; a=\"b\\":        no,
		"permessage-deflate, \"":             no,
		"permessage-deflate, foo; a=\"\"":    no,
		"permessage-deflate, foo bar":        no,
		"foo bar, permessage-deflate":        no,
		"permessage-deflate, foo; a=b=c":     no,
		"permessage-deflate, föö":            no,
		"permessage-deflate, (x)":            no,
		"permessage-deflate, foo; a=\"b c\"": no,
	} {
		got, ok := Negotiate(offers)
		if got != want || ok != (want != no) {
			t.Errorf("%q\n got %q, %v\nwant %q", offers, got, ok, want)
		}
	}
}

// TestNegotiateManyOffers ends only if the work does not grow with the square of the header.
func TestNegotiateManyOffers(t *testing.T) {
	for _, part := range []string{",", "permessage-deflate; foo,", "permessage-deflate; client_max_window_bits; client_max_window_bits,", `a; b="\c\d\e",`} {
		if answer, ok := Negotiate(strings.Repeat(part, 1<<18) + "permessage-deflate"); !ok || answer != agreed {
			t.Errorf("many of %q: %q, %v", part, answer, ok)
		}
	}
	if answer, ok := Negotiate("permessage-deflate" + strings.Repeat("; a", 1<<20)); ok {
		t.Errorf("unknown parameters were answered %q", answer)
	}
}

// plain puts what httphead does not read into what it does: it knows no tab
// between tokens, and loses what follows the second escape of a quoted string.
// Escapes stand only before characters of a token where a header is accepted.
var plain = strings.NewReplacer("\t", " ", `\`, "")

// FuzzNegotiate checks that no header makes it panic, and that what it accepts
// is accepted by others.
func FuzzNegotiate(f *testing.F) {
	f.Add("permessage-deflate; client_max_window_bits")
	f.Add(`permessage-deflate; server_max_window_bits="15", foo; bar=1`)
	f.Add("permessage-deflate; server_max_window_bits=10, permessage-deflate;")
	f.Add("permessage-deflate;\tserver_max_window_bits=\"\\1\\5\",0;\t0")
	f.Fuzz(func(t *testing.T, offers string) {
		answer, ok := Negotiate(offers)
		if ok != (answer != "") {
			t.Fatalf("%q: answer %q, %v", offers, answer, ok)
		}
		if !ok {
			return
		}
		theirs, valid := httphead.ParseOptions([]byte(plain.Replace(offers)), nil)
		if !valid {
			t.Fatalf("%q is malformed for httphead, and was answered %q", offers, answer)
		}
		for _, o := range theirs {
			var p wsflate.Parameters
			if string(o.Name) == name && p.Parse(o) == nil {
				return
			}
		}
		t.Fatalf("%q has no offer that wsflate accepts, and was answered %q", offers, answer)
	})
}
