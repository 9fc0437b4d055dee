// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
)

// ErrPlaceholder means that a placeholder stands for nothing.
var ErrPlaceholder = errors.New("placeholder of no attachment")

// CheckPlaceholders reports whether each placeholder in a payload that has been
// checked to be JSON stands for one of n attachments.
func CheckPlaceholders(payload []byte, n int) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	w := walk{json: d, attachments: n}
	w.value()
	if w.bad {
		return ErrPlaceholder
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
