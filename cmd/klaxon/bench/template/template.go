// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package template

import (
	"slices"
	"strconv"
	"strings"
)

// Values are what the words stand for.
type Values struct {
	Channel int    // {ch}, from 0
	Room    int    // {room}, from 0
	I       int    // {i}: the connection's number, from 0
	Seq     int    // {seq}: the event's number in its room of its channel, from 1
	Data    []byte // {data}
}

// Words are the words that templates know, without braces.
var Words = []string{"ch", "room", "i", "seq", "data"}

// Template is a parsed text.
type Template struct {
	parts []part
}

// part is a text and the word that follows it.
type part struct {
	text, word string
}

// Parse parses a text. All texts are good templates.
func Parse(s string) Template {
	var t Template
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '{')
		if i < 0 {
			t.parts = append(t.parts, part{text: s})
			return t
		}
		i += from
		word, rest, closed := strings.Cut(s[i+1:], "}")
		if closed && slices.Contains(Words, word) {
			t.parts = append(t.parts, part{s[:i], word})
			s, from = rest, 0
		} else {
			from = i + 1
		}
	}
}

// Has reports whether the template has the word.
func (t Template) Has(word string) bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.word == word })
}

// Append appends the text with the words filled in.
func (t Template) Append(b []byte, v *Values) []byte {
	for _, p := range t.parts {
		b = append(b, p.text...)
		switch p.word {
		case "ch":
			b = strconv.AppendInt(b, int64(v.Channel), 10)
		case "room":
			b = strconv.AppendInt(b, int64(v.Room), 10)
		case "i":
			b = strconv.AppendInt(b, int64(v.I), 10)
		case "seq":
			b = strconv.AppendInt(b, int64(v.Seq), 10)
		case "data":
			b = append(b, v.Data...)
		}
	}
	return b
}
