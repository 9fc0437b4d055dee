// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/klaxon-dev/klaxon/pusher/wire"
)

// The forms in which data of a CloudEvent reaches clients.
const (
	formJSON = iota
	formText
	formBytes
)

// kind is what a media type says of data.
type kind struct {
	form    int
	foreign bool // characters are in another encoding than UTF-8
}

// kindOf reads a media type, which comes in a field. None is JSON's.
func kindOf(field, contentType string) (kind, *problem) {
	if contentType == "" || contentType == "application/json" {
		return kind{form: formJSON}, nil
	}
	t, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return kind{}, invalid("%s: %q is no media type", field, shorten([]byte(contentType)))
	}
	cs := strings.ToLower(params["charset"])
	k := kind{form: formBytes, foreign: cs != "" && cs != "utf-8" && cs != "us-ascii"}
	switch _, sub, _ := strings.Cut(t, "/"); {
	case sub == "json" || strings.HasSuffix(sub, "+json"):
		k.form = formJSON
	case strings.HasPrefix(t, "text/"):
		k.form = formText
	}
	return k, nil
}

// fill makes bytes of a kind the data of an event, which keeps nothing of b.
func (k kind) fill(ev *wire.Event, b []byte, limit int64) *problem {
	if k.form == formBytes {
		ev.Binary = append(make([]byte, 0, len(b)), b...)
		return checkSize(len(b), limit)
	}
	switch {
	case k.foreign:
		return newProblem(http.StatusUnsupportedMediaType, codeMediaType, "text and JSON are taken in UTF-8 only")
	case k.form == formText && !utf8.Valid(b):
		return errNotUTF8
	case k.form == formText:
		ev.Data = quote(b)
	case len(b) == 0:
		ev.Data = null
	default:
		var doc bytes.Buffer
		doc.Grow(len(b))
		if p := compact(&doc, b); p != nil {
			q := *p
			q.Detail += ": data is JSON unless its media type says otherwise"
			return &q
		}
		ev.Data = doc.Bytes()
	}
	return checkSize(len(ev.Data), limit)
}

// quote is text as a JSON string.
func quote(text []byte) json.RawMessage {
	var b bytes.Buffer
	b.Grow(len(text) + 2)
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(string(text)); err != nil {
		panic("events: a string cannot be marshalled: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
