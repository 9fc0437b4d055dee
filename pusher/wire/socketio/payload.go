// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package socketio

import (
	"bytes"
	"iter"
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
