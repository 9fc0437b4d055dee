// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// FuzzClientIsCarried checks that a client is the same on another replica, and that
// nothing else is taken for one.
func FuzzClientIsCarried(f *testing.F) {
	rooms := []string{"a", "order:*", ""}
	c := newClient(&clientClaims{Claims: jwt.Claims{Subject: "ann", Expiry: jwt.NewNumericDate(time.Unix(1e9, 0))}, Rooms: &rooms}, nil, everyRoom)
	ruled := newClient(&clientClaims{Claims: jwt.Claims{Subject: "ann", ID: "token"}, Rooms: &rooms}, []byte(`{"a":1}`), 0)
	f.Add(ruled.Bytes())
	f.Add(c.Bytes())
	f.Add(anonymous.Bytes())
	f.Add(c.Bytes()[:len(c.Bytes())-2])
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var got Client
		if got.UnmarshalBinary(b) != nil {
			return
		}
		if !slices.Equal(got.Bytes(), b) {
			t.Errorf("%q became %q", b, got.Bytes())
		}
		for range got.rooms { // does not panic
		}
		claims := got.claims()
		if id := got.tokenID(); id != "" && !strings.Contains(got.said, id) {
			t.Errorf("%q has the token id %q", b, id)
		}
		if got.forgetClaims(); got.claims() != "" || len(claims) > len(b) {
			t.Errorf("%q has claims %q, and then %q", b, claims, got.claims())
		}
	})
	var got Client
	if got.UnmarshalBinary(c.Bytes()) != nil || got != c || !slices.Equal(slices.Collect(got.rooms), rooms) {
		f.Errorf("%+v became %+v", c, got)
	}
}
