// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// claims are those of a good token, with changes. A value of nil takes a claim away.
func claims(issuer string, changes map[string]any) map[string]any {
	c := map[string]any{"iss": issuer, "aud": "web", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "rooms": []string{"*"}}
	for name, v := range changes {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

// key is what a token is signed with.
type key struct {
	algorithm jose.SignatureAlgorithm
	key       any
	headers   map[jose.HeaderKey]any
	embeds    bool
}

func sign(k key, claims map[string]any) string {
	options := &jose.SignerOptions{ExtraHeaders: k.headers, EmbedJWK: k.embeds}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.algorithm, Key: k.key}, options)
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}

var shared = key{algorithm: jose.HS256, key: []byte(sharedKey)}

// goodToken is one of a user's.
func goodToken(user string) string {
	return sign(shared, claims("https://shared", map[string]any{"sub": user}))
}

// unsigned is a token that says so.
func unsigned(algorithm string) string {
	payload, _ := json.Marshal(claims("https://shared", nil))
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(fmt.Sprintf("{\"alg\":%q,\"typ\":\"JWT\"}", algorithm))) + "." + encode(payload) + "."
}

// badToken is one that must be refused everywhere.
type badToken struct{ name, token string }

func badTokens() []badToken {
	good := goodToken("ann")
	parts := strings.Split(good, ".")
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(privateKey().Public())
	if err != nil {
		panic(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	public := func(k key) string { return sign(k, claims("https://public", nil)) }
	with := func(name string, v any) string {
		return sign(shared, claims("https://shared", map[string]any{name: v}))
	}
	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	return []badToken{
		{"expired", with("exp", past)},
		{"never expires", with("exp", nil)},
		{"expires in words", with("exp", "tomorrow")},
		{"not valid yet", with("nbf", future)},
		{"another audience", with("aud", "api")},
		{"no audience", with("aud", nil)},
		{"another issuer", with("iss", "https://evil")},
		{"the other issuer", with("iss", "https://public")},
		{"nobody", with("sub", nil)},
		{"another key", sign(key{algorithm: jose.HS256, key: []byte(strings.ToUpper(sharedKey))}, claims("https://shared", nil))},
		{"changed claims", parts[0] + "." + strings.Split(goodToken("bob"), ".")[1] + "." + parts[2]},
		{"a signature cut off", good[:len(good)-2]},
		{"no signature", parts[0] + "." + parts[1] + "."},
		{"one part more", good + ".x"},
		{"alg none", unsigned("none")},
		{"alg nOnE", unsigned("nOnE")},
		{"no alg", unsigned("")},
		{"alg none with a signature", unsigned("none") + parts[2]},
		{"a public key as a shared one", public(key{algorithm: jose.HS256, key: asPEM, headers: kid("one")})},
		{"its modulus as a shared one", public(key{algorithm: jose.HS256, key: privateKey().N.Bytes(), headers: kid("one")})},
		{"a key of the token's own", public(key{algorithm: jose.RS256, key: other, embeds: true})},
		{"another's key of the same name", public(key{algorithm: jose.RS256, key: other, headers: kid("one")})},
		{"another algorithm of the key", public(key{algorithm: jose.RS512, key: privateKey(), headers: kid("one")})},
		{"a key from elsewhere", public(key{algorithm: jose.RS256, key: other, headers: map[jose.HeaderKey]any{"jku": "http://127.0.0.1:1/keys", "kid": "one"}})},
		{"a key in a file", public(key{algorithm: jose.RS256, key: other, headers: kid("../../../../dev/null")})},
		{"a header of 2 KB", sign(key{algorithm: jose.HS256, key: []byte(sharedKey), headers: kid(strings.Repeat("x", 2<<10))}, claims("https://shared", nil))},
		{"20 KB", with("rooms", strings.Split(strings.Repeat("x,", 4<<10), ","))},
		{"dots", strings.Repeat(".", 1000)},
		{"no token at all", "x"},
	}
}

func kid(name string) map[jose.HeaderKey]any { return map[jose.HeaderKey]any{"kid": name} }

// forgeTokens shows bad tokens wherever tokens are asked for.
func (a *arena) forgeTokens() {
	for _, good := range []string{goodToken("ann"), sign(key{algorithm: jose.RS256, key: privateKey(), headers: kid("one")}, claims("https://public", nil))} {
		if _, err := a.join("/ws/guarded?room=any", "Authorization: Bearer "+good); err != nil {
			a.Fatalf("a good token: %v", err)
		}
	}
	all := badTokens()
	a.all(len(all), func(i int) error {
		b := all[i]
		return besiege(func() error {
			if err := a.forgeToken(b.token); err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			return nil
		})
	})
}

func (a *arena) forgeToken(token string) error {
	bearer := "Authorization: Bearer " + token
	admin := http.StatusUnauthorized
	if len(token) > 8<<10 { // the largest head there
		admin = http.StatusRequestHeaderFieldsTooLarge
	}
	for _, path := range []string{"/ws/guarded", "/ws/ticks"} {
		c, err := a.upgrade(path, bearer)
		if err == nil {
			err = c.closed(4001)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for url, want := range map[string]int{
		a.clients + "/sse/guarded":                  http.StatusUnauthorized,
		a.events + "/v1/channels/guarded/events":    http.StatusUnauthorized,
		a.events + "/v1/channels/guarded/sessions":  http.StatusUnauthorized,
		a.events + "/v1/channels/nosuch/events":     http.StatusUnauthorized,
		a.admin + "/status":                         admin,
		a.admin + "/metrics":                        admin,
		a.clients + "/sse/guarded?token=" + "a.b.c": http.StatusUnauthorized,
	} {
		if _, err := a.answered(http.MethodGet, url, "", want, bearer); err != nil {
			return err
		}
	}
	c, err := a.upgrade("/socket.io/?EIO=4&transport=websocket")
	if err == nil {
		err = c.send(text(fmt.Sprintf("40/guarded,{\"token\":%q}", token)))
	}
	if err != nil {
		return err
	}
	defer c.Close()
	answer, err := c.await("4")
	if err == nil && (!strings.HasPrefix(answer, "44/guarded,") || !strings.Contains(answer, "\"code\":\"token\"")) {
		err = fmt.Errorf("a CONNECT is answered %s", answer)
	}
	return err
}

// renewByBadTokens shows bad tokens on a session that stands, which keeps its own.
func (a *arena) renewByBadTokens() {
	all := append(badTokens(), badToken{"another user's", goodToken("bob")})
	a.all(len(all), func(i int) error {
		c, err := a.join("/ws/guarded?room=any", "Authorization: Bearer "+goodToken("ann"))
		if err != nil {
			return err
		}
		return besiege(func() error {
			err := c.send(text(fmt.Sprintf("{\"type\":\"auth\",\"token\":%q}", all[i].token)))
			if err == nil {
				err = c.expect("{\"type\":\"error\",\"code\":\"token\"")
			}
			if err == nil {
				err = c.send(text("{\"type\":\"leave\",\"rooms\":[\"x\"]}"))
			}
			if err == nil {
				err = c.expect("{\"type\":\"left\",\"rooms\":[\"any\"]")
			}
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			return nil
		})
	})
}
