// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

var (
	now      = time.Unix(1_800_000_000, 0)
	hmacKey  = []byte(strings.Repeat("k", 64))
	otherKey = []byte(strings.Repeat("o", 64))
	shortKey = []byte(strings.Repeat("s", 32))
	static   = "static-token-of-a-publisher-outside"
)

// keys are made once: RSA keys take time.
var keys = struct {
	rsa, stranger *rsa.PrivateKey
	ec            *ecdsa.PrivateKey
	ed            ed25519.PrivateKey
}{
	must(rsa.GenerateKey(rand.Reader, 2048)), must(rsa.GenerateKey(rand.Reader, 2048)),
	must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), edKey(),
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func edKey() ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return must(k, err)
}

func jwks(extra ...jose.JSONWebKey) []byte {
	set := jose.JSONWebKeySet{Keys: append([]jose.JSONWebKey{
		{KeyID: "rsa", Algorithm: "RS256", Use: "sig", Key: &keys.rsa.PublicKey},
		{KeyID: "ec", Algorithm: "ES256", Use: "sig", Key: &keys.ec.PublicKey},
		{KeyID: "ed", Use: "sig", Key: keys.ed.Public()},
		{KeyID: "anyalg", Key: &keys.rsa.PublicKey},
		{KeyID: "enc", Use: "enc", Key: &keys.rsa.PublicKey},
	}, extra...)}
	return must(json.Marshal(set))
}

func sha(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

func testSettings() *settings.Settings {
	jwtIssuers := []settings.JWTIssuer{
		{Issuer: "https://id.example.com", Audiences: []string{"shop-web", "shop-app"}, HMACKey: hmacKey},
		{Issuer: "https://id.example.com", Audiences: []string{"shop-web"}, HMACKey: otherKey},
		{Issuer: "short", Audiences: []string{"shop-web"}, HMACKey: shortKey},
	}
	return &settings.Settings{
		Pusher: settings.Pusher{
			Namespace: "shop", Name: "edge",
			ServiceAccounts: &settings.ServiceAccountIssuer{Issuer: "https://cluster", JWKS: jwks()},
		},
		Channels: []settings.Channel{
			{
				Name: "news", Clients: settings.Clients{Anonymous: true, JWT: jwtIssuers, AllowedOrigins: []string{"*"}},
				Publishers: settings.Publishers{AnyInNamespace: "shop", TokenSHA256: []string{sha("x"), sha(static), sha("y")}},
			},
			{
				Name: "orders", Clients: settings.Clients{JWT: jwtIssuers, AllowedOrigins: []string{
					"https://shop.example.com", "https://*.example.org", "http://dev.example.com:3000", "https://*.port.example.com:8443",
				}},
				Publishers: settings.Publishers{ServiceAccounts: []settings.ServiceAccount{
					{Namespace: "shop", Name: "checkout"}, {Namespace: "billing", Name: "invoices"},
				}},
			},
			{Name: "plain"},
		},
	}
}

func newVerifier(t testing.TB, change func(*settings.Settings)) *Verifier {
	t.Helper()
	s := testSettings()
	if change != nil {
		change(s)
	}
	v, err := New(s, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// claims is a token's payload; with returns a copy with one claim set, or, with
// a nil value, removed.
type claims map[string]any

func (c claims) with(name string, value any) claims {
	out := claims{}
	for k, v := range c {
		out[k] = v
	}
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, payload any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, ok := payload.([]byte)
	if !ok {
		b = must(json.Marshal(payload))
	}
	sig, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	return must(sig.CompactSerialize())
}

// forge puts together a token with any header and signature.
func forge(header string, payload any, signature string) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(header)) + "." + enc(must(json.Marshal(payload))) + "." + enc([]byte(signature))
}

// wantCode fails unless err is an *Error of the code that shows nothing of the token.
func wantCode(t *testing.T, err error, code, token string) {
	t.Helper()
	if code == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v (%T), want an *Error with code %s", err, err, code)
	}
	if e.Code() != code {
		t.Fatalf("code is %s (%s), want %s", e.Code(), e, code)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 6 && strings.Contains(e.Error(), part) {
			t.Fatalf("the message shows the token: %s", e)
		}
	}
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	private := jose.JSONWebKey{KeyID: "private", Key: keys.rsa}
	symmetric := jose.JSONWebKey{KeyID: "oct", Key: hmacKey}
	twice := jose.JSONWebKey{KeyID: "rsa", Key: &keys.rsa.PublicKey}
	for name, tc := range map[string]struct {
		change func(*settings.Settings)
		want   string
	}{
		"jwks is no JSON":   {func(s *settings.Settings) { s.Pusher.ServiceAccounts.JWKS = []byte("{") }, "pusher.serviceAccounts.jwks: is not"},
		"jwks is empty":     {func(s *settings.Settings) { s.Pusher.ServiceAccounts.JWKS = []byte(`{"keys":[]}`) }, "pusher.serviceAccounts.jwks: holds no key"},
		"jwks is private":   {func(s *settings.Settings) { s.Pusher.ServiceAccounts.JWKS = jwks(private) }, "jwks: keys[5] is not a public key"},
		"jwks is symmetric": {func(s *settings.Settings) { s.Pusher.ServiceAccounts.JWKS = jwks(symmetric) }, "jwks: keys[5] is not a public key"},
		"kid twice":         {func(s *settings.Settings) { s.Pusher.ServiceAccounts.JWKS = jwks(twice) }, "jwks: keys[5] has a key id"},
		"no issuer":         {func(s *settings.Settings) { s.Pusher.ServiceAccounts.Issuer = "" }, "pusher.serviceAccounts.issuer: is missing"},
		"origin":            {func(s *settings.Settings) { s.Channels[1].Clients.AllowedOrigins[1] = "ftp://x" }, "channels[orders].clients.allowedOrigins[1]: "},
		"short key":         {func(s *settings.Settings) { s.Channels[0].Clients.JWT[0].HMACKey = []byte("short") }, "channels[news].clients.jwt[0].hmacKey: is shorter than 32 bytes"},
		"no audience":       {func(s *settings.Settings) { s.Channels[0].Clients.JWT[1].Audiences = nil }, "channels[news].clients.jwt[1].audiences: is empty"},
		"no client issuer":  {func(s *settings.Settings) { s.Channels[0].Clients.JWT[1].Issuer = "" }, "channels[news].clients.jwt[1].issuer: is missing"},
		"hash":              {func(s *settings.Settings) { s.Channels[0].Publishers.TokenSHA256[2] = "abcd" }, "channels[news].publishers.tokenSHA256[2]: is not a SHA-256"},
	} {
		t.Run(name, func(t *testing.T) {
			s := testSettings()
			tc.change(s)
			v, err := New(s, nil)
			if v != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("New: %v, want %q", err, tc.want)
			}
		})
	}
}

func TestNewReportsEverything(t *testing.T) {
	s := testSettings()
	s.Pusher.ServiceAccounts.JWKS = nil
	s.Channels[0].Publishers.TokenSHA256 = []string{"0"}
	s.Channels[1].Clients.AllowedOrigins = []string{"null"}
	_, err := New(s, nil)
	for _, want := range []string{"pusher.serviceAccounts.jwks", "channels[news].publishers", "channels[orders].clients"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %q in it", err, want)
		}
	}
}
