// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func TestOrigin(t *testing.T) {
	const refused = CodeOriginRefused
	v := newVerifier(t, nil)
	for _, tc := range []struct{ channel, origin, host, code string }{
		// No Origin: not a browser.
		{"orders", "", "push.example.com", ""},
		{"plain", "", "push.example.com", ""},
		{"nosuch", "", "push.example.com", CodeUnknownChannel},

		// Listed.
		{"orders", "https://shop.example.com", "x", ""},
		{"orders", "https://shop.example.com:443", "x", ""},
		{"orders", "HTTPS://Shop.Example.COM", "x", ""},
		{"orders", "http://shop.example.com", "x", refused},
		{"orders", "http://shop.example.com:443", "x", refused},
		{"orders", "https://shop.example.com:8443", "x", refused},
		{"orders", "https://shop.example.com.", "x", refused},
		{"orders", "https://a.shop.example.com", "x", refused},
		{"orders", "https://shop.example.com.evil.com", "x", refused},
		{"orders", "https://evilshop.example.com", "x", refused},
		{"orders", "http://dev.example.com:3000", "x", ""},
		{"orders", "http://dev.example.com", "x", refused},
		{"orders", "http://dev.example.com:03000", "x", refused},

		// One or more labels.
		{"orders", "https://a.example.org", "x", ""},
		{"orders", "https://a.b.example.org", "x", ""},
		{"orders", "https://example.org", "x", refused},
		{"orders", "https://.example.org", "x", refused},
		{"orders", "https://a..example.org", "x", refused},
		{"orders", "https://evilexample.org", "x", refused},
		{"orders", "https://a.example.org:444", "x", refused},
		{"orders", "http://a.example.org", "x", refused},
		{"orders", "https://x.port.example.com:8443", "x", ""},
		{"orders", "https://x.port.example.com", "x", refused},

		// A list replaces the default.
		{"orders", "https://push.example.com", "push.example.com", refused},

		// Not an origin.
		{"orders", "null", "x", refused},
		{"orders", "https://shop.example.com/", "x", refused},
		{"orders", "https://shop.example.com https://evil.com", "x", refused},
		{"orders", "https://user@shop.example.com", "x", refused},
		{"orders", "https://evil.com#.example.org", "x", refused},
		{"orders", "https://evil.com/.example.org", "x", refused},
		{"orders", "https://evil.com\\.example.org", "x", refused},
		{"orders", "https://ſhop.example.com", "x", refused},
		{"orders", "https://", "x", refused},
		{"orders", "*", "x", refused},

		// The default: the same host.
		{"plain", "https://push.example.com", "push.example.com", ""},
		{"plain", "https://push.example.com", "Push.example.com:443", ""},
		{"plain", "https://push.example.com", "push.example.com:80", refused},
		{"plain", "http://push.example.com", "push.example.com", ""},
		{"plain", "http://localhost:8080", "localhost:8080", ""},
		{"plain", "http://localhost:8080", "localhost", refused},
		{"plain", "http://localhost:3000", "localhost:8080", refused},
		{"plain", "http://[::1]:8080", "[::1]:8080", ""},
		{"plain", "http://[::1]", "[::1]", ""},
		{"plain", "http://[::1]", "[::2]", refused},
		{"plain", "http://127.0.0.1:1", "127.0.0.1:1", ""},
		{"plain", "https://a.push.example.com", "push.example.com", refused},
		{"plain", "ftp://push.example.com", "push.example.com", refused},
		{"plain", "chrome-extension://push.example.com", "push.example.com", refused},
		{"plain", "null", "null", refused},
		{"plain", "https://push.example.com", "", refused},

		// Every origin.
		{"news", "https://anything", "x", ""},
		{"news", "null", "x", ""},
		{"news", "chrome-extension://abc", "x", ""},
	} {
		t.Run(tc.channel+" "+tc.origin+" "+tc.host, func(t *testing.T) {
			wantCode(t, v.Origin(tc.channel, tc.origin, tc.host), tc.code, "")
		})
	}
}

func FuzzOrigin(f *testing.F) {
	for _, s := range []string{"", "null", "https://shop.example.com", "https://*.example.org", "http://[::1]:80", "https://a:b@c", "https://a.example.org:443"} {
		f.Add(s, s)
	}
	v := newVerifier(f, nil)
	f.Fuzz(func(t *testing.T, s, host string) {
		if s != "" && v.Origin("orders", s, host) == nil {
			l := strings.TrimSuffix(strings.ToLower(s), ":443")
			_, name, _ := strings.Cut(l, "://")
			ok := l == "https://shop.example.com" || l == "http://dev.example.com:3000" ||
				strings.HasPrefix(l, "https://") && !strings.ContainsAny(name, "/#?@\\ \x00") &&
					(strings.HasSuffix(l, ".example.org") || strings.HasSuffix(l, ".port.example.com:8443"))
			if !ok {
				t.Fatalf("%q is taken", s)
			}
		}
		if s != "" && v.Origin("plain", s, host) == nil {
			_, rest, _ := strings.Cut(strings.ToLower(s), "://")
			name, _, _ := strings.Cut(strings.ToLower(host), ":")
			if !strings.HasPrefix(rest, name) {
				t.Fatalf("%q is taken for the host %q", s, host)
			}
		}
		// What can be configured is what settings takes.
		p, err := parseOriginPattern(s)
		if err == nil && !p.any && (p.port == "" || p.host == "" || p.scheme == "") {
			t.Fatalf("%q is parsed as %+v", s, p)
		}
	})
}

func TestOriginPatternsOfSettings(t *testing.T) {
	for _, s := range []string{"*", "https://a", "http://*.a-b.c9:65535", "https://1.2.3.4:1"} {
		c := settings.Channel{Name: "c", Clients: settings.Clients{AllowedOrigins: []string{s}}}
		if _, err := newChannel(&c); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}
