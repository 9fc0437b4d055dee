// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestWithout(t *testing.T) {
	for in, want := range map[string]string{
		`{"token":"x","z":1.50,"a":[1, {"token":"y"}]}`: `{"z":1.50,"a":[1, {"token":"y"}]}`,
		`{"z":1 , "token" : "x" ,"a": 2}`:               `{"z":1,"a": 2}`,
		`{"token":"x"}`:                                 ``,
		`{}`:                                            ``,
		``:                                              ``,
		`[1]`:                                           ``,
		"{\"\\u0074oken\":\"x\",\"a\":\"\\u00e4\\u003c\"}": `{"a":"\u00e4\u003c"}`,
	} {
		if got := string(without([]byte(in), "token", "pid")); got != want {
			t.Errorf("%s without a token is %s, not %s", in, got, want)
		}
	}
}

// FuzzWithout: what is left of an object is an object, without what was to go and with all
// the rest.
func FuzzWithout(f *testing.F) {
	f.Add([]byte(`{"token":"x","z":1.50,"a":[1, {"token":"y"}]}`))
	f.Add([]byte(`{"a":1,"a":2,"token":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var was, is map[string]any
		if json.Unmarshal(b, &was) != nil {
			return
		}
		got := without(b, "token")
		delete(was, "token")
		if got == nil && len(was) == 0 {
			return
		}
		if json.Unmarshal(got, &is) != nil || !reflect.DeepEqual(was, is) {
			t.Fatalf("%q without a token is %q", b, got)
		}
	})
}
