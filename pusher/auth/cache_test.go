// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func TestACacheKeepsWhatIsInUseAndStaysBounded(t *testing.T) {
	var c cache[int]
	now := time.Now()
	inUse := cacheKey("orders", "token")
	c.add(inUse, 42, now.Add(time.Hour))
	for i := range 10 * cacheSize {
		c.add(cacheKey("orders", strconv.Itoa(i)), i, now.Add(time.Hour))
		if i%cacheSize == 0 {
			if v, ok := c.get(inUse, now); !ok || v != 42 {
				t.Fatalf("after %d others: %d, %v", i, v, ok)
			}
		}
	}
	if n := len(c.fresh) + len(c.old); n > 2*cacheSize {
		t.Errorf("%d entries", n)
	}
	if _, ok := c.get(cacheKey("orders", "0"), now); ok {
		t.Error("an entry that was not used for long is still there")
	}
	if _, ok := c.get(inUse, now.Add(2*time.Hour)); ok {
		t.Error("an entry is given that has ended")
	}
	if cacheKey("a", "b") == cacheKey("a\x00b", "") || cacheKey("a", "b") == cacheKey("b", "a") {
		t.Error("different tokens have one key")
	}
}

// TestACachedTokenIsGoodForItsChannelUntilItEnds asks twice each time.
func TestACachedTokenIsGoodForItsChannelUntilItEnds(t *testing.T) {
	clock := now
	v, err := New(testSettings(), func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, jose.HS256, hmacKey, clientToken())
	first, err := v.Client("orders", token)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := v.Client("orders", token); err != nil || again != first {
		t.Errorf("the same token is another client: %+v, %v", again, err)
	}
	if c, err := v.Client("plain", token); err == nil {
		t.Errorf("on a channel that does not trust its issuer it is %+v", c)
	}
	clock = first.Expires().Add(time.Second)
	for range 2 {
		var refused *Error
		if _, err := v.Client("orders", token); !errors.As(err, &refused) || refused.Code() != CodeTokenExpired {
			t.Errorf("after its end: %v", err)
		}
	}
}

func TestATokenThatSaysMuchIsGoodAndNotKept(t *testing.T) {
	v := newVerifier(t, nil)
	for _, n := range []int{maxCached / 4, maxCached} {
		token := sign(t, jose.HS256, hmacKey, clientToken().with("rooms", []string{strings.Repeat("r", n)}))
		before := len(v.clients.fresh)
		if c, err := v.Client("orders", token); err != nil || !v.MayJoin("orders", &c, strings.Repeat("r", n)) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if kept := len(v.clients.fresh) > before; kept != (n < maxCached) {
			t.Errorf("a token that says %d bytes is kept: %v", n, kept)
		}
	}
}

// BenchmarkTokens shows what verifying costs, and what a repeated token does.
func BenchmarkTokens(b *testing.B) {
	v := newVerifier(b, nil)
	account := sign(b, jose.ES256, jose.JSONWebKey{Key: keys.ec, KeyID: "ec"}, accountToken("shop", "checkout"))
	client := sign(b, jose.HS256, hmacKey, clientToken())
	for _, each := range []struct {
		name   string
		verify func() error
	}{
		{"client-HS256", func() error { _, err := v.Client("orders", client); return err }},
		{"account-ES256", func() error { _, err := v.Publisher("orders", account); return err }},
	} {
		for _, repeated := range []bool{false, true} {
			name := each.name + "/new"
			if repeated {
				name = each.name + "/repeated"
			}
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if !repeated {
						v.clients, v.accountTokens = cache[Client]{}, cache[settings.ServiceAccount]{}
					}
					if err := each.verify(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
