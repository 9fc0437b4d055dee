// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"unicode/utf8"
)

// compact checks that src is one JSON value (RFC 8259) in UTF-8 and writes it
// to dst without spaces. What follows in this file may then trust every byte.
func compact(dst *bytes.Buffer, src []byte) *problem {
	if !utf8.Valid(src) {
		return errNotUTF8
	}
	if json.Compact(dst, src) == nil {
		return nil
	}
	// Compact does not say where it stopped.
	var value json.RawMessage
	var syntax *json.SyntaxError
	if errors.As(json.Unmarshal(src, &value), &syntax) {
		return newProblem(http.StatusBadRequest, codeMalformed, "not JSON: %s, at byte %d", syntax.Error(), syntax.Offset)
	}
	return newProblem(http.StatusBadRequest, codeMalformed, "not JSON")
}

// cutValue cuts the first value off compact JSON.
func cutValue(b []byte) (value, rest []byte) {
	n := 0
	switch b[0] {
	case '"':
		n = stringEnd(b)
	case '{', '[':
		n = nestedEnd(b)
	default:
		for n < len(b) && b[n] != ',' && b[n] != '}' && b[n] != ']' && b[n] != ':' {
			n++
		}
	}
	return b[:n], b[n:]
}

// stringEnd returns the length of the string that b begins with.
func stringEnd(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// nestedEnd returns the length of the array or object that b begins with.
func nestedEnd(b []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch b[i] {
		case '"':
			i += stringEnd(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
}

// eachElement calls fn for each element of a compact array until one is wrong.
func eachElement(b []byte, fn func(i int, value []byte) *problem) *problem {
	b = b[1:]
	for i := 0; b[0] != ']'; i++ {
		var value []byte
		value, b = cutValue(b)
		if p := fn(i, value); p != nil {
			return p
		}
		if b[0] == ',' {
			b = b[1:]
		}
	}
	return nil
}

// eachField calls fn for each field of a compact object until one is wrong.
func eachField(b []byte, fn func(name, value []byte) *problem) *problem {
	b = b[1:]
	for b[0] != '}' {
		var name, value []byte
		name, b = cutValue(b)
		value, b = cutValue(b[1:])
		if p := fn(name, value); p != nil {
			return p
		}
		if b[0] == ',' {
			b = b[1:]
		}
	}
	return nil
}

// text returns what a compact string says, or false when the value is none.
func text(value []byte) (string, bool) {
	if value[0] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err == nil
}
