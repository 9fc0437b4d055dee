// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestArgsAsAnEventsData(t *testing.T) {
	for name, tc := range map[string]struct {
		args   Args
		data   string
		spread bool
		binary []byte
	}{
		"none":               {args: Args{}, data: `[]`, spread: true},
		"one":                {args: Args{List: json.RawMessage(`[{"b":1,"a":1.0}]`)}, data: `{"b":1,"a":1.0}`},
		"one that is a list": {args: One(json.RawMessage(`[1]`)), data: `[1]`},
		"several":            {args: Args{List: json.RawMessage(`[1,null]`)}, data: `[1,null]`, spread: true},
		"bytes":              {args: OneBinary([]byte{1}), binary: []byte{1}},
		"bytes within": {
			args: Args{List: json.RawMessage(`[{"x":{"_placeholder":true,"num":0}}]`), Attachments: [][]byte{{1}}},
			data: `[{"x":{"_placeholder":true,"num":0}}]`, spread: true,
		},
	} {
		var ev Event
		tc.args.Fill(&ev)
		if string(ev.Data) != tc.data || ev.Spread != tc.spread || !bytes.Equal(ev.Binary, tc.binary) {
			t.Errorf("%s: %s, spread %v, %v", name, ev.Data, ev.Spread, ev.Binary)
		}
	}
}

func TestCheckArgs(t *testing.T) {
	eleven := make([][]byte, MaxAttachments+1)
	for name, tc := range map[string]struct {
		args Args
		ok   bool
	}{
		"none":                     {Args{}, true},
		"a list":                   {Args{List: json.RawMessage(`[1]`)}, true},
		"no list":                  {Args{List: json.RawMessage(`{"a":1}`)}, false},
		"what looks like bytes":    {Args{List: json.RawMessage(`[{"_placeholder":true,"num":0}]`)}, true},
		"bytes":                    {OneBinary(nil), true},
		"too many":                 {Args{List: json.RawMessage(`[]`), Attachments: eleven}, false},
		"a placeholder of nothing": {Args{List: json.RawMessage(`[{"_placeholder":true,"num":1}]`), Attachments: eleven[:1]}, false},
	} {
		if err := CheckArgs(&tc.args); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
