// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func valid(channels int) *Settings {
	s := &Settings{Pusher: Pusher{
		Namespace: "shop", Name: "edge",
		Heartbeat: Heartbeat{Interval: Duration(25 * time.Second), Timeout: Duration(20 * time.Second)},
		Drain:     Drain{Period: Duration(30 * time.Second), MaxPeriod: Duration(10 * time.Minute)},
	}}
	for i := range channels {
		s.Channels = append(s.Channels, Channel{
			Name:        fmt.Sprintf("channel-%05d", i),
			Publishers:  Publishers{AnyInNamespace: "shop"},
			Limits:      Limits{EventBytes: 64 << 10, Connections: 100000},
			SlowClients: SlowClients{BufferBytes: 256 << 10, Policy: Disconnect},
		})
	}
	s.Seal()
	return s
}

func writeDir(t *testing.T, p *Packed) string {
	t.Helper()
	dir := t.TempDir()
	files := map[string][]byte{IndexFile: p.Index}
	for i, part := range p.Parts {
		files[PartFile(i)] = part
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPackedDocumentComesBack(t *testing.T) {
	s := valid(1000)
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Parts) != 1 {
		t.Errorf("1000 plain Channels take %d parts, want 1", len(p.Parts))
	}
	got, err := Load(writeDir(t, p))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, s) {
		t.Error("the document is not what was packed")
	}
	again, err := Pack(valid(1000))
	if err != nil || !bytes.Equal(again.Index, p.Index) || !bytes.Equal(again.Parts[0], p.Parts[0]) {
		t.Errorf("equal documents pack differently, error %v", err)
	}
}

// incompressible fills the document with n bytes of keys.
func incompressible(t *testing.T, n int) *Settings {
	t.Helper()
	s := valid(n / (48 << 10))
	for i := range s.Channels {
		key := make([]byte, 48<<10)
		if _, err := rand.Read(key); err != nil {
			t.Fatal(err)
		}
		s.Channels[i].Clients.JWT = []JWTIssuer{{Issuer: "i", Audiences: []string{"a"}, HMACKey: key}}
	}
	s.Seal()
	return s
}

func TestSeveralParts(t *testing.T) {
	s := incompressible(t, 1<<20)
	p, err := Pack(s)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Parts) < 2 {
		t.Fatalf("1 MiB of noise are in %d part", len(p.Parts))
	}
	dir := writeDir(t, p)
	if got, err := Load(dir); err != nil || got.Revision != s.Revision {
		t.Fatalf("load: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, PartFile(1)), p.Parts[0], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "part-1.gz is not the part that index.json names") {
		t.Errorf("a part of another document: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, PartFile(1))); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing part: %v", err)
	}
}

func TestTooLarge(t *testing.T) {
	if _, err := Pack(incompressible(t, 4<<20)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want ErrTooLarge", err)
	}
}

func TestRevisionsFollowTheContent(t *testing.T) {
	a, b := valid(2), valid(2)
	if a.Revision != b.Revision || a.Channels[0].Revision == a.Channels[1].Revision {
		t.Fatal("equal content must have equal revisions, other content others")
	}
	b.Channels[1].Limits.Connections++
	b.Seal()
	if a.Revision == b.Revision || a.Channels[1].Revision == b.Channels[1].Revision {
		t.Error("a changed Channel kept a revision")
	}
	if a.Channels[0].Revision != b.Channels[0].Revision {
		t.Error("a Channel that did not change got another revision")
	}
	b = valid(2)
	b.Pusher.Heartbeat.Interval++
	b.Seal()
	if a.Revision == b.Revision || a.Channels[0].Revision != b.Channels[0].Revision {
		t.Error("the Pusher's settings must change the whole's revision and no Channel's")
	}
}

func TestDecodeIsStrict(t *testing.T) {
	doc, err := json.Marshal(valid(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ old, new, want string }{
		"unknown field": {`"format":1`, `"format":1,"fromat":1`, `unknown field "fromat"`},
		"other format":  {`"format":1`, `"format":2`, "format: is 2, this program reads 1"},
		"bad duration":  {`"25s"`, `"25"`, "missing unit"},
		"number for it": {`"25s"`, `25`, `a duration is a string such as "25s"`},
		"trailing":      {`{"format"`, `{} {"format"`, "more than one JSON value"},
	} {
		changed := strings.Replace(string(doc), tc.old, tc.new, 1)
		if _, err := Decode([]byte(changed)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestValidateFindsEverythingAtOnce(t *testing.T) {
	s := valid(3)
	s.Pusher.Name = "Edge"
	s.Pusher.Heartbeat.Timeout = 0
	s.Pusher.Drain.Period = Duration(time.Hour)
	s.Pusher.Admin.TokenSHA256 = "abc"
	s.Pusher.ServiceAccounts = &ServiceAccountIssuer{}
	c := &s.Channels[0]
	c.Clients.AllowedOrigins = []string{"https://ok.example", "https://no.example/path"}
	c.Clients.JWT = []JWTIssuer{{HMACKey: []byte("sesame")}}
	c.Publishers = Publishers{TokenSHA256: []string{"x"}, ServiceAccounts: []ServiceAccount{{Name: "a"}}}
	c.Limits = Limits{EventBytes: 1}
	c.SlowClients = SlowClients{BufferBytes: 1, Policy: "Wait"}
	c.SocketIO.Namespace = "orders"
	c.Compression = &Compression{MinBytes: 63}
	c.History = History{Size: -1, TTL: Duration(time.Millisecond), Bytes: 1}
	c.Handlers = []Handler{{URL: "http://user@host/", Keys: [][]byte{[]byte("sesame")}}, {Events: []string{"*"}}}
	s.Channels[2].Name = s.Channels[1].Name
	err := s.Validate()
	if err == nil {
		t.Fatal("nothing was found")
	}
	for _, want := range []string{
		"pusher.name:", "pusher.heartbeat.timeout:", "pusher.drain.period:", "pusher.admin.tokenSHA256:",
		"pusher.serviceAccounts.issuer:", "pusher.serviceAccounts.jwks:",
		"channels[channel-00000].clients.allowedOrigins[1]:", "channels[channel-00000].clients.jwt[0].issuer:",
		"channels[channel-00000].clients.jwt[0].audiences:", "channels[channel-00000].clients.jwt[0].hmacKey:",
		"channels[channel-00000].publishers.tokenSHA256[0]:", "channels[channel-00000].publishers.serviceAccounts[0]:",
		"channels[channel-00000].limits.eventBytes:", "channels[channel-00000].limits.connections:",
		"channels[channel-00000].slowClients.bufferBytes:", "channels[channel-00000].slowClients.policy:",
		"channels[channel-00000].socketIO.namespace:", "channels[channel-00000].compression.minBytes:",
		"channels[channel-00000].history.size:", "channels[channel-00000].history.ttl:", "channels[channel-00000].history.bytes:",
		"channels[channel-00000].handlers[0].events:", "channels[channel-00000].handlers[0].url:", "channels[channel-00000].handlers[0].timeout:",
		"channels[channel-00000].handlers[0].concurrency:", "channels[channel-00000].handlers[0].keys[0]:",
		"channels[channel-00001]: is out of order or twice",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not found: %s", want)
		}
	}
	if strings.Contains(err.Error(), "sesame") {
		t.Error("the error shows a key")
	}
}

func TestHeartbeatBounds(t *testing.T) {
	for d, ok := range map[time.Duration]bool{
		100*time.Millisecond - 1: false, 100 * time.Millisecond: true, 10 * time.Minute: true, 10*time.Minute + 1: false,
	} {
		s := valid(0)
		s.Pusher.Heartbeat = Heartbeat{Interval: Duration(d), Timeout: Duration(d)}
		if err := s.Validate(); (err == nil) != ok {
			t.Errorf("%s: %v", d, err)
		}
	}
}

func TestNamespaces(t *testing.T) {
	for ns, ok := range map[string]bool{
		"":       true, // a document from before there were namespaces
		"/":      true,
		"/a":     true,
		"/a/b-c": true, "/A_z.0:9": true,
		"/" + strings.Repeat("n", MaxNamespace-1): true,
		"/" + strings.Repeat("n", MaxNamespace):   false,
		"orders":                                  false, "//": false, "/a/": false, "/a//b": false, "//a": false, "/a,b": false, "/a?b": false, "/a b": false,
		"/a\n": false, "/ä": false, "/a#b": false, "/*": false,
	} {
		s := valid(2)
		s.Channels[1].SocketIO.Namespace = ns
		if err := s.Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", ns, err)
		}
	}
}

func TestOneNamespaceHasOneChannel(t *testing.T) {
	s := valid(3)
	for i := range s.Channels {
		s.Channels[i].SocketIO.Namespace = "/orders"
	}
	s.Channels[1].SocketIO.Namespace = "/orders/eu"
	const want = `channels[channel-00002].socketIO.namespace: "/orders" is channel channel-00000's already`
	if err := s.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadAFile(t *testing.T) {
	doc, err := json.Marshal(valid(1))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "settings.json")
	if err := os.WriteFile(path, doc, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Load(path); err != nil || len(s.Channels) != 1 {
		t.Errorf("got %v, error %v", s, err)
	}
	if _, err := Load(path + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// FuzzDecode checks that no document makes the loader panic, and that what it
// accepts is valid and survives another round.
func FuzzDecode(f *testing.F) {
	doc, err := json.Marshal(valid(2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte(`{"format":1}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := Decode(doc)
		if err != nil {
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatalf("accepted once, refused the second time: %v", err)
		}
	})
}

func TestWhatAHandlerWants(t *testing.T) {
	h := Handler{Events: []string{"connect", "order.*", "exact"}}
	for event, want := range map[string]bool{
		"connect": true, "disconnect": false, "order.": true, "order.paid": true, "order": false, "exact": true, "exactly": false,
	} {
		if h.Wants(event) != want {
			t.Errorf("%s: %v", event, !want)
		}
	}
	all := Handler{Events: []string{"*"}}
	if all.Wants(OnConnect) || all.Wants(OnDisconnect) || !all.Wants("anything") || all.Names("anything") {
		t.Error("a star stands for events alone")
	}
}
