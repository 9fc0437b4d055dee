// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func load(t *testing.T, files map[string]string) (*Set, []Problem) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	set, problems, err := l.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return set, problems
}

const channelHead = "apiVersion: push.klaxon.dev/v1alpha1\nkind: Channel\n"

func TestManifestsAreServed(t *testing.T) {
	set, problems := load(t, map[string]string{
		"a.yaml": channelHead + `metadata: {name: orders}
spec:
  pusherRef: {name: edge}
  clients:
    jwt: [{issuer: https://id, audiences: [web], hmacSecretRef: {name: keys, key: web}}]
---
apiVersion: push.klaxon.dev/v1alpha1
kind: Pusher
metadata: {name: edge}
spec: {heartbeat: {interval: 10s}}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, labels: {push.klaxon.dev/allow: "true"}}
stringData: {web: 0123456789abcdef0123456789abcdef}
`,
		"b.json": `{"apiVersion":"push.klaxon.dev/v1alpha1","kind":"Channel","metadata":{"name":"news"},"spec":{"pusherRef":{"name":"edge"},"clients":{"anonymous":true}}}`,
		"c.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: other}\n",
		"d.txt":  "not a manifest",
	})
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	s, problems := set.Local(OpenOnLoopback, noKeys)
	if len(problems) > 0 || len(s.Channels) != 2 {
		t.Fatalf("%d Channels, problems %v", len(s.Channels), problems)
	}
	if string(s.Channels[1].Clients.JWT[0].HMACKey) != "0123456789abcdef0123456789abcdef" {
		t.Error("the key is not the Secret's")
	}
	if s.Pusher.Heartbeat.Interval.Std().String() != "10s" || !s.Pusher.OpenPublishing {
		t.Errorf("pusher settings %+v", s.Pusher)
	}
	if s, _ := set.Local(WithToken, noKeys); s.Pusher.OpenPublishing {
		t.Error("publishing is open although a token is asked for")
	}
}

func TestProblemsSayWhatToDoAndCostTheOthersNothing(t *testing.T) {
	set, problems := load(t, map[string]string{
		"bad.yaml": channelHead + "metadata: {name: both}\nspec: {pusher: {}, pusherRef: {name: x}}\n---\n" +
			channelHead + "metadata: {name: typo}\nspec: {client: {}}\n---\n" +
			channelHead + "metadata: {name: Upper}\n---\n" +
			channelHead + "metadata: {}\n---\n" +
			channelHead + "metadata: {name: origin}\nspec: {clients: {allowedOrigins: [example.com]}}\n---\n" +
			"apiVersion: push.klaxon.dev/v1alpha1\nkind: Chanel\nmetadata: {name: x}\n---\n" +
			"a: [\n---\n" +
			"- a\n---\n" +
			channelHead + "metadata: {name: good}\n",
		"twice.yaml": channelHead + "metadata: {name: good}\n",
	})
	var all strings.Builder
	for _, p := range problems {
		all.WriteString(filepath.Base(p.File) + " " + p.Object + ": " + p.Message + "\n")
	}
	for _, want := range []string{
		"bad.yaml Channel both: ", "not both",
		"bad.yaml Channel typo: spec.client: there is no such field",
		"bad.yaml Channel Upper: ", "lowercase letters",
		"bad.yaml Channel: metadata.name is missing",
		"bad.yaml Channel origin: ", "write an origin as scheme://host[:port]",
		"bad.yaml Chanel x: there is no such kind",
		"bad.yaml : is not YAML: ", "bad.yaml : is not an object: ",
		"twice.yaml Channel good: is in ",
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no problem says %q", want)
		}
	}
	if t.Failed() {
		t.Log(all.String())
	}
	if s, more := set.Local(WithToken, noKeys); len(more) > 0 || len(s.Channels) != 1 || s.Channels[0].Name != "good" {
		t.Errorf("served %v, problems %v", s.Channels, more)
	}
}

func TestQuantitiesAreNumbersOrStrings(t *testing.T) {
	set, problems := load(t, map[string]string{
		"a.yaml": channelHead + "metadata: {name: numbers}\n" +
			"spec: {limits: {eventBytes: 2048, connections: 7}, slowClients: {bufferBytes: 8192}, compression: {minBytes: 512}}\n---\n" +
			channelHead + "metadata: {name: strings}\n" +
			"spec: {limits: {eventBytes: 2Ki, connections: 7}, slowClients: {bufferBytes: 8Ki}, compression: {minBytes: '512'}}\n",
		"b.json": `{"apiVersion":"push.klaxon.dev/v1alpha1","kind":"Channel","metadata":{"name":"json"},"spec":{"limits":` +
			`{"eventBytes":2048,"connections":7},"slowClients":{"bufferBytes":8192},"compression":{"minBytes":512}}}`,
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, problems := set.Local(WithToken, noKeys)
	if len(problems) > 0 || len(s.Channels) != 3 {
		t.Fatalf("%d Channels, problems %v", len(s.Channels), problems)
	}
	for _, c := range s.Channels {
		if c.Limits != (settings.Limits{EventBytes: 2048, Connections: 7, EmitRate: 100, JoinRate: 100, PublishRate: 10000}) || c.SlowClients.BufferBytes != 8192 || c.Compression.MinBytes != 512 {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
}

// TestTheSamplesAreServed loads what CONTRIBUTING.md and README.md show first.
func TestTheSamplesAreServed(t *testing.T) {
	l, err := NewLoader()
	if err != nil {
		t.Fatal(err)
	}
	set, problems, err := l.Load(filepath.Join("..", "..", "config", "samples"))
	if err != nil || len(problems) > 0 {
		t.Fatalf("problems %v, error %v", problems, err)
	}
	s, problems := set.Local(OpenOnLoopback, noKeys)
	if len(problems) > 0 || len(s.Channels) != len(set.Channels) {
		t.Errorf("%d of %d Channels are served, problems %v", len(s.Channels), len(set.Channels), problems)
	}
}

func TestWhatOnlyCompilingFinds(t *testing.T) {
	set, problems := load(t, map[string]string{
		"a.yaml": channelHead + "metadata: {name: owner}\n---\n" +
			channelHead + "metadata: {name: thief}\nspec: {pusherRef: {name: owner}}\n---\n" +
			channelHead + "metadata: {name: lost}\nspec: {pusherRef: {name: nowhere}}\n---\n" +
			channelHead + "metadata: {name: keyless}\nspec: {clients: {jwt: [{issuer: i, audiences: [a], hmacSecretRef: {name: absent, key: web}}]}}\n---\n" +
			channelHead + "metadata: {name: owner, namespace: other}\n---\n" +
			channelHead + "metadata: {name: rival}\nspec: {socketIO: {namespace: /owner}}\n",
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s, problems := set.Local(WithToken, noKeys)
	var all []string
	for _, p := range problems {
		all = append(all, p.String())
	}
	got := strings.Join(all, "\n")
	for _, want := range []string{
		"Channel default/thief: not accepted (PusherOwned)", "Channel default/lost: not accepted (PusherNotFound)",
		"Channel default/keyless: not accepted (SecretNotFound)", "Channel other/owner: not accepted (Conflict)",
		"Channel default/rival: not accepted (NamespaceTaken): Channel owner, which comes first by age and name, has the Socket.IO namespace /owner",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no problem says %q in:\n%s", want, got)
		}
	}
	if len(s.Channels) != 1 || s.Channels[0].Name != "owner" || s.Channels[0].SlowClients.Policy != settings.Disconnect {
		t.Errorf("served %+v", s.Channels)
	}
}

func TestAnObjectWithAProblemIsNotServedInPart(t *testing.T) {
	set, problems := load(t, map[string]string{
		"a.yaml": channelHead + "metadata: {name: orders, labels: {a: 1}}\nspec: {clients: {anonymous: true}}\n",
	})
	if len(problems) != 1 || len(set.Channels) != 0 {
		t.Errorf("problems %v, Channels %v", problems, set.Channels)
	}
}

// TestHandlersAreCalledOnThisMachine: a backend is developed beside klaxon serve.
func TestHandlersAreCalledOnThisMachine(t *testing.T) {
	set, problems := load(t, map[string]string{
		"a.yaml": channelHead + "metadata: {name: chat}\nspec: {handlers: [{events: ['*'], service: {name: api, port: 8000, path: /in}}, {events: ['*'], url: 'https://elsewhere/'}]}\n",
	})
	s, more := set.Local(WithToken, noKeys)
	if len(problems)+len(more) > 0 {
		t.Fatal(problems, more)
	}
	h := s.Channels[0].Handlers
	if h[0].URL != "http://127.0.0.1:8000/in" || !h[0].Loopback || h[1].URL != "https://elsewhere/" {
		t.Errorf("handlers are %+v", h)
	}
}

func noKeys(url string) (json.RawMessage, error) { return nil, errors.New(url + " is not known") }
