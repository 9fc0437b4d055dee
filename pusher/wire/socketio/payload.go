// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package socketio

import (
	"bytes"
	"encoding/json"
	"iter"
	"math"
)

// elements yields the elements of a JSON array as they are written. The array has
// been checked to be valid: only then is it enough to look at brackets and quotes.
// Nothing is copied, so that a message of many small elements costs no more than
// its size.
func elements(array []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		depth, start, quoted := 0, 0, false
		for i := 0; i < len(array); i++ {
			switch c := array[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case quoted:
			case c == '[', c == '{':
				if depth++; depth == 1 {
					start = i + 1
				}
			case c == ']', c == '}', c == ',' && depth == 1:
				if c != ',' {
					depth--
				}
				if depth > 1 || depth == 1 && c != ',' {
					continue
				}
				// Only an empty array has an element of white space.
				if e := bytes.Trim(array[start:i], " \t\r\n"); len(e) > 0 && !yield(e) {
					return
				}
				start = i + 1
			}
		}
	}
}

// checkPlaceholders reports whether each placeholder in a payload that has been
// checked to be JSON stands for one of n attachments.
func checkPlaceholders(payload []byte, n int) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	w := walk{json: d, attachments: n}
	w.value()
	if w.bad {
		return errPlaceholder
	}
	return nil
}

// walk goes through JSON in search of placeholders. How deep they can be nested is
// bounded by package json.
type walk struct {
	json        *json.Decoder
	attachments int
	bad         bool
}

// value goes through one value, and returns its first token.
func (w *walk) value() json.Token {
	first := w.next()
	switch first {
	case json.Delim('['):
		for !w.bad && w.json.More() {
			w.value()
		}
		w.next()
	case json.Delim('{'):
		w.object()
		w.next()
	}
	return first
}

// object goes through the members of an object. The last of several members of the
// same name is the one that counts.
func (w *walk) object() {
	var mark, num json.Token
	for !w.bad && w.json.More() {
		switch key := w.next(); key {
		case "_placeholder":
			mark = w.value()
		case "num":
			num = w.value()
		default:
			w.value()
		}
	}
	if mark == true {
		number, _ := num.(json.Number)
		i, err := number.Float64()
		if err != nil || i < 0 || i >= float64(w.attachments) || i != math.Trunc(i) {
			w.bad = true
		}
	}
}

func (w *walk) next() json.Token {
	t, err := w.json.Token()
	if err != nil {
		w.bad = true
	}
	return t
}
