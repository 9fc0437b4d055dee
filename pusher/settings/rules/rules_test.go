// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestAllows(t *testing.T) {
	claims := `{"email_verified":true,"teams":["red","blue"],"level":3,"big":12345678901,"share":0.5,"orders":{"7":"mine"},"nested":{"a":[{"b":1}]}}`
	for _, c := range []struct {
		kind   Kind
		source string
		vars   map[string]any
		want   bool
	}{
		{Connect, `claims.email_verified`, nil, true},
		{Connect, `claims.level >= 3 && claims.level < 3.5 && claims.share == 0.5`, nil, true},
		{Connect, `remote.startsWith("10.")`, map[string]any{Remote: "10.1.2.3"}, true},
		{Connect, `"x-tenant" in headers && headers["x-tenant"] == "a"`, map[string]any{Headers: map[string]string{"x-tenant": "a"}}, true},
		{Connect, `has(claims.admin) && claims.admin`, nil, false},
		{Join, `room == "user:" + user || room in claims.teams`, map[string]any{Room: "user:ann"}, true},
		{Join, `room == "user:" + user || room in claims.teams`, map[string]any{Room: "blue"}, true},
		{Join, `room == "user:" + user || room in claims.teams`, map[string]any{Room: "user:bob"}, false},
		{Join, `room == "account:" + string(claims.big)`, map[string]any{Room: "account:12345678901"}, true},
		{Join, `claims.orders.exists(o, room == "order:" + o)`, map[string]any{Room: "order:7"}, true},
		{Join, `claims.nested.a[0].b == 1`, nil, true},
		{Emit, `event in ["typing", "read"]`, map[string]any{Event: "read"}, true},
		{Emit, `event in ["typing", "read"]`, map[string]any{Event: "delete"}, false},
		{Join, `room.matches("^team:[a-z]+$")`, map[string]any{Room: "team:red"}, true},
	} {
		r, err := Parse(c.kind, c.source)
		if err != nil {
			t.Errorf("%s: %v", c.source, err)
			continue
		}
		vars := map[string]any{Claims: ReadClaims([]byte(claims)), User: "ann", Room: "", Event: "", Remote: "", Headers: map[string]string{}}
		for k, v := range c.vars {
			vars[k] = v
		}
		if got, err := r.Allows(vars); err != nil || got != c.want {
			t.Errorf("%s: %t, %v", c.source, got, err)
		}
	}
}

func TestWhatCannotBeEvaluatedAllowsNothing(t *testing.T) {
	list := "[" + strings.Repeat("1,", 200) + "1]"
	for source, want := range map[string]string{
		`claims.admin`: "no such key",
		`claims.teams`: "not true or false",
		`claims.teams == "red" || claims.nothing == 1`:         "no such key",
		list + `.all(a, ` + list + `.all(b, a + b > 0))`:       "cost limit",
		`(claims.pad + claims.pad).matches("(a?){300}a{300}")`: "cost limit",
		`int(user) > 0`:                "",
		`room.matches(claims.invalid)`: "",
		`claims.teams.exists(t, t == room) && claims.teams[7] > 1`: "",
	} {
		r, err := Parse(Join, source)
		if err != nil {
			t.Errorf("%.60s: %v", source, err)
			continue
		}
		vars := map[string]any{Claims: map[string]any{"teams": []any{"red"}, "pad": strings.Repeat("a", 8<<10), "invalid": "("}, User: "ann", Room: "red"}
		began := time.Now()
		ok, err := r.Allows(vars)
		if ok || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %t, %v", source, ok, err)
		}
		t.Logf("%.60s: %v in %v", source, err, time.Since(began))
	}
}

func TestParseSaysWhatIsWrongAndWhere(t *testing.T) {
	for source, want := range map[string]string{
		`rooom == "a"`:                 "line 1, column 1: undeclared reference to 'rooom'",
		"user == \"a\" &&\n  room > 1": "line 2, column 8: found no matching overload",
		`event == "a"`:                 "undeclared reference to 'event'",
		`headers.a == "a"`:             "undeclared reference to 'headers'",
		`room ==`:                      "line 1, column 8: Syntax error",
		`"a"`:                          "is of type string, it must be true or false",
		``:                             "Syntax error",
		`room.matches("(")`:            "error parsing regexp",
		strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100): "recursion",
		`true || ` + strings.Repeat(" ", MaxBytes):                   "more than 2048 bytes",
	} {
		for range 2 { // also when it is remembered
			if _, err := Parse(Join, source); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%.40q: %v, want %q", source, err, want)
			}
		}
	}
}

func TestUses(t *testing.T) {
	r, err := Parse(Join, `claims.teams.exists(t, t == room)`)
	if err != nil {
		t.Fatal(err)
	}
	if !r.Uses(Claims) || !r.Uses(Room) || r.Uses(User) {
		t.Errorf("uses %v", r.uses)
	}
}

func TestReadClaims(t *testing.T) {
	for _, b := range []string{``, `null`, `[]`, `{`, `"a"`} {
		if got := ReadClaims([]byte(b)); got == nil || len(got) > 0 {
			t.Errorf("%q: %v", b, got)
		}
	}
	if got := ReadClaims([]byte(`{"huge":1e999,"long":123456789012345678901234567890}`)); fmt.Sprint(got) != "map[huge:+Inf long:1.2345678901234568e+29]" {
		t.Error(got)
	}
}

// FuzzParse: whatever an author writes is compiled or refused, and evaluated within its
// cost.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`room in claims.teams`, `claims.a.exists(x, x == user)`, `room.matches("^a+$")`, `"a" + "b" == room ? true : false`, `{"a": 1}.a == 1`, `b"\xff" == b""`} {
		f.Add(s)
	}
	vars := map[string]any{Claims: ReadClaims([]byte(`{"teams":["a","b"],"a":[1,"x"],"s":"` + strings.Repeat("a", 500) + `"}`)), User: "ann", Room: "room"}
	f.Fuzz(func(t *testing.T, source string) {
		r, err := compile(Join, source)
		if err != nil {
			if err.Error() == "" {
				t.Error("nothing is said")
			}
			return
		}
		if ok, err := r.Allows(vars); ok && err != nil {
			t.Errorf("allowed, and %v", err)
		}
	})
}
