// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// MaxAttachments is how many binary attachments one message may have, as in the
// reference server of Socket.IO.
const MaxAttachments = 10

// soleAttachment is the list of one argument that is binary.
const soleAttachment = `[{"_placeholder":true,"num":0}]`

// Args are the arguments of an event or of an acknowledgement. Bytes at any depth are
// attachments, for which List has placeholders as in Socket.IO:
// {"_placeholder":true,"num":0}. Without attachments nothing is a placeholder.
type Args struct {
	// List is a JSON array, compact and in UTF-8; nil: there are none.
	List json.RawMessage
	// Attachments are what the placeholders stand for, by their numbers.
	Attachments [][]byte
}

// Value is the one argument; false: there are none, or several, or it is binary.
func (a *Args) Value() (json.RawMessage, bool) {
	var list []json.RawMessage
	if len(a.Attachments) > 0 || json.Unmarshal(a.List, &list) != nil || len(list) != 1 {
		return nil, false
	}
	return list[0], true
}

// Bytes is the one argument, if it is binary.
func (a *Args) Bytes() ([]byte, bool) {
	if len(a.Attachments) != 1 || string(a.List) != soleAttachment {
		return nil, false
	}
	return a.Attachments[0], true
}

// Array is List, also when there are no arguments.
func (a *Args) Array() json.RawMessage {
	if a.List == nil {
		return json.RawMessage("[]")
	}
	return a.List
}

// Fill makes the arguments the data of an event: one is the data itself, of several
// or none it is the array.
func (a *Args) Fill(ev *Event) {
	if b, ok := a.Bytes(); ok {
		ev.Binary = b
		return
	}
	if v, ok := a.Value(); ok {
		ev.Data = v
		return
	}
	ev.Data, ev.Spread, ev.Attachments = a.Array(), true, a.Attachments
}

// Size is the number of bytes of the arguments.
func (a *Args) Size() int {
	n := len(a.List)
	for _, b := range a.Attachments {
		n += len(b)
	}
	return n
}

// CheckArgs says what is wrong with arguments that were made elsewhere, if anything.
func CheckArgs(a *Args) error {
	if len(a.Attachments) > MaxAttachments {
		return fmt.Errorf("there are more than %d attachments", MaxAttachments)
	}
	if len(a.List) > 0 && a.List[0] != '[' {
		return errors.New("arguments are a list, for example [\"hello\",{\"n\":1}]")
	}
	if len(a.Attachments) == 0 {
		return nil
	}
	return CheckPlaceholders(a.List, len(a.Attachments))
}

// OneBinary are arguments of which the only one is b.
func OneBinary(b []byte) Args {
	return Args{List: json.RawMessage(soleAttachment), Attachments: [][]byte{b}}
}

// One are arguments of which the only one is v, which is compact JSON.
func One(v json.RawMessage) Args {
	return Args{List: bytes.Join([][]byte{[]byte("["), v, []byte("]")}, nil)}
}
