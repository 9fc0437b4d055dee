// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package template

import (
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	v := Values{Channel: 3, Room: 4, I: 5, Seq: 6, Data: []byte("~x~")}
	for text, want := range map[string]string{
		"":                              "",
		"/ws/orders":                    "/ws/orders",
		"/ws/c{ch}?room=r{room}&n={i}":  "/ws/c3?room=r4&n=5",
		`{"data":"{data}","n":{seq}}`:   `{"data":"~x~","n":6}`,
		`{"a":{"b":{}},"{c}":"{ch}"}{`:  `{"a":{"b":{}},"{c}":"3"}{`,
		"{ch}{ch}{":                     "33{",
		"{{ch}}":                        "{3}",
		"{ ch}{CH}{ch":                  "{ ch}{CH}{ch",
		"}{room}{":                      "}4{",
		`40{"ch":"{ch}"}`:               `40{"ch":"3"}`,
		"a{unknown}b{data}c{unknown}d{": "a{unknown}b~x~c{unknown}d{",
	} {
		if got := string(Parse(text).Append([]byte(">"), &v)); got != ">"+want {
			t.Errorf("%q is filled in as %q, want %q", text, got[1:], want)
		}
	}
}

func TestHas(t *testing.T) {
	for _, word := range Words {
		if !Parse("a{"+word+"}b").Has(word) || Parse("a{x}"+word+"}").Has(word) {
			t.Errorf("{%s} is not found where it is, or found where it is not", word)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	text := Parse(strings.Repeat("{ch}{room}{i}{seq}{data}", 3))
	v, b := Values{I: 1e9, Data: []byte("data")}, make([]byte, 0, 1000)
	if n := testing.AllocsPerRun(10, func() { b = text.Append(b[:0], &v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
