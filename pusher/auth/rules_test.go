// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/settings/rules"
)

// ruled gives the channels orders and news rules.
func ruled(r map[string]string) func(*settings.Settings) {
	return func(s *settings.Settings) {
		for i := range s.Channels {
			s.Channels[i].Clients.Rules = r
		}
	}
}

func TestRulesDecide(t *testing.T) {
	v := newVerifier(t, ruled(map[string]string{
		"connect": `has(claims.email_verified) && claims.email_verified || user == "" && remote == "10.0.0.1"`,
		"join":    `room == "user:" + user || room in claims.teams`,
		"emit":    `event == "typing"`,
	}))
	var log []string
	v.Undecided = func(channel string, kind rules.Kind, why error) {
		log = append(log, channel+" "+string(kind)+" "+why.Error())
	}
	good := clientToken().with("email_verified", true).with("teams", []string{"red"}).with("rooms", []string{"*"})
	verified := func(channel string, c claims) Client {
		t.Helper()
		token := ""
		if c != nil {
			token = sign(t, jose.HS256, hmacKey, c)
		}
		for range 2 { // the second is remembered
			if _, err := v.Client(channel, token); err != nil {
				t.Fatal(err)
			}
		}
		client, _ := v.Client(channel, token)
		return client
	}
	ann := verified("orders", good)
	if err := v.MayConnect("orders", &ann, Visit{}); err != nil {
		t.Fatal(err)
	}
	for room, want := range map[string]bool{"user:u1": true, "red": true, "blue": false, "user:u2": false, "": false} {
		if v.MayJoin("orders", &ann, room) != want {
			t.Errorf("joining %q: not %t", room, want)
		}
	}
	if !v.MayEmit("orders", &ann, "typing") || v.MayEmit("orders", &ann, "delete") {
		t.Error("the rule for emitting does not decide")
	}
	if as := ann.As("bob"); !v.MayJoin("orders", &as, "user:bob") || v.MayJoin("orders", &as, "user:u1") || !v.MayJoin("orders", &as, "red") {
		t.Error("by another name it has not the claims, or not the name")
	}

	unverified := verified("orders", clientToken())
	wantCode(t, v.MayConnect("orders", &unverified, Visit{Remote: netip.MustParseAddr("10.0.0.1")}), CodeNotAllowed, "")
	nobody := verified("news", nil)
	if err := v.MayConnect("news", &nobody, Visit{Remote: netip.MustParseAddr("::ffff:10.0.0.1")}); err != nil {
		t.Error(err)
	}
	wantCode(t, v.MayConnect("news", &nobody, Visit{Remote: netip.MustParseAddr("10.0.0.2")}), CodeNotAllowed, "")

	if len(log) > 0 {
		t.Errorf("could be evaluated: %v", log)
	}
	if v.MayJoin("news", &nobody, "red") || len(log) != 1 || !strings.HasPrefix(log[0], "news join") || !strings.Contains(log[0], "no such key: teams") {
		t.Errorf("a missing claim lets somebody in, or is not said: %v", log)
	}
}

// TestClaimsAreKeptWhereTheyAreNeeded: a session takes no more room than its channel's
// rules want.
func TestClaimsAreKeptWhereTheyAreNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		rules       map[string]string
		first, then bool
	}{
		"no rules":          {nil, false, false},
		"rules without":     {map[string]string{"join": `room == user`}, false, false},
		"only at first":     {map[string]string{"connect": `claims.a == 1`}, true, false},
		"only later":        {map[string]string{"join": `claims.a == 1`}, true, true},
		"first, and others": {map[string]string{"connect": `claims.a == 1`, "emit": `event == "a"`}, true, false},
	} {
		v := newVerifier(t, ruled(c.rules))
		client, err := v.Client("orders", sign(t, jose.HS256, hmacKey, clientToken().with("a", 1).with("rooms", []string{"b"})))
		if err != nil {
			t.Fatal(err)
		}
		if got := client.claims() != ""; got != c.first {
			t.Errorf("%s: at first %t", name, got)
		}
		if err := v.MayConnect("orders", &client, Visit{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := client.claims() != ""; got != c.then {
			t.Errorf("%s: then %t", name, got)
		}
		if rooms := strings.Join(collect(client.rooms), " "); rooms != "b" || client.User() != "u1" {
			t.Errorf("%s: rooms %q of %q", name, rooms, client.User())
		}
	}
}

func collect(each func(func(string) bool)) (all []string) {
	each(func(s string) bool { all = append(all, s); return true })
	return all
}

func TestARuleThatAsksForHeaders(t *testing.T) {
	v := newVerifier(t, ruled(map[string]string{"connect": `headers["x-tenant"] == "a"`}))
	if !v.WantsHeaders("orders") || v.WantsHeaders("nosuch") {
		t.Error("who asks for headers is not known")
	}
	c, _ := v.Client("orders", sign(t, jose.HS256, hmacKey, clientToken()))
	if err := v.MayConnect("orders", &c, Visit{Headers: map[string]string{"x-tenant": "a"}}); err != nil {
		t.Error(err)
	}
	wantCode(t, v.MayConnect("orders", &c, Visit{}), CodeNotAllowed, "")
	if err := v.MayRenew("orders", &c, netip.Addr{}); err != nil {
		t.Errorf("headers that are gone are asked for again: %v", err)
	}
}

func TestBrokenRulesAreRefused(t *testing.T) {
	s := testSettings()
	ruled(map[string]string{"join": `rooom == "a"`, "leave": `true`})(s)
	_, err := New(s, nil)
	for _, want := range []string{"channels[orders].clients.rules.join: line 1, column 1", `rules.leave: there are no rules of the kind "leave"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// TestClockSkew: an issuer may have a clock of its own.
func TestClockSkew(t *testing.T) {
	token := sign(t, jose.HS256, hmacKey, clientToken().with("exp", now.Add(-2*time.Minute).Unix()))
	for skew, code := range map[time.Duration]string{0: CodeTokenExpired, time.Minute: CodeTokenExpired, 3 * time.Minute: ""} {
		v := newVerifier(t, func(s *settings.Settings) {
			for i := range s.Channels {
				for j := range s.Channels[i].Clients.JWT {
					s.Channels[i].Clients.JWT[j].ClockSkew = settings.Duration(skew)
				}
			}
		})
		c, err := v.Client("orders", token)
		wantCode(t, err, code, token)
		if code == "" && !c.Expires().Equal(now.Add(-2*time.Minute).Add(skew).Truncate(time.Second)) {
			t.Errorf("with a skew of %s it ends at %s", skew, c.Expires())
		}
	}
}
