// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// scene is a test's input as one YAML document in testdata/*.in.yaml.
type scene struct {
	Pusher   v1alpha1.Pusher                `json:"pusher"`
	Channels []v1alpha1.Channel             `json:"channels"`
	Secrets  []corev1.Secret                `json:"secrets"`
	Issuer   *settings.ServiceAccountIssuer `json:"issuer"`
}

func (s scene) input() Input {
	return Input{
		Pusher: &s.Pusher, Channels: s.Channels, Secrets: lookup(s.Secrets...), Issuer: s.Issuer, KeySet: publishedKeys,
		AdminTokenSHA256: strings.Repeat("ab", 32), SessionKey: []byte(strings.Repeat("k", settings.SessionKeyBytes)),
	}
}

// publishedKeys are at one URL; others have none.
func publishedKeys(url string) (json.RawMessage, error) {
	if url != "https://login.example.com/keys" {
		return nil, errors.New("answers 404")
	}
	return json.RawMessage(`{"keys":[{"use":"sig","kty":"OKP","kid":"now","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`), nil
}

func lookup(secrets ...corev1.Secret) Secrets {
	return func(namespace, name string) *corev1.Secret {
		for i := range secrets {
			if secrets[i].Namespace == namespace && secrets[i].Name == name {
				return &secrets[i]
			}
		}
		return nil
	}
}

func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no inputs in testdata: %v", err)
	}
	for _, path := range inputs {
		t.Run(filepath.Base(path), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var s scene
			if err := yaml.UnmarshalStrict(raw, &s); err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(Compile(s.input()), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			compareGolden(t, strings.TrimSuffix(path, ".in.yaml")+".golden.json", append(got, '\n'))
		})
	}
}

func compareGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (run with -update and read the diff):\n%s", path, got)
	}
}

func TestOrderOfInputDoesNotMatter(t *testing.T) {
	s := manyChannels(50, "")
	want := Compile(s.input())
	for range 5 {
		rand.Shuffle(len(s.Channels), func(i, j int) { s.Channels[i], s.Channels[j] = s.Channels[j], s.Channels[i] })
		if got := Compile(s.input()); !reflect.DeepEqual(got, want) {
			t.Fatalf("revision %s from another order, want %s", got.Settings.Revision, want.Settings.Revision)
		}
	}
}

func TestChannelRevisionFollowsItsContentOnly(t *testing.T) {
	s := manyChannels(3, "")
	before := Compile(s.input()).Settings
	s.Channels[1].Spec.Clients = &v1alpha1.ClientsSpec{Anonymous: true}
	s.Channels[2].Labels = map[string]string{"team": "shop"}
	after := Compile(s.input()).Settings
	for i, changed := range []bool{false, true, false} {
		if got := before.Channels[i].Revision != after.Channels[i].Revision; got != changed {
			t.Errorf("channel %d: revision changed: %v, want %v", i, got, changed)
		}
	}
	if before.Revision == after.Revision {
		t.Error("the whole document's revision did not change")
	}
}

func TestRotatedSecretMakesAnotherRevision(t *testing.T) {
	s := manyChannels(1, "key")
	s.Secrets = []corev1.Secret{secret("key", strings.Repeat("a", 32))}
	before := Compile(s.input()).Settings
	s.Secrets = []corev1.Secret{secret("key", strings.Repeat("b", 32))}
	if after := Compile(s.input()).Settings; after.Channels[0].Revision == before.Channels[0].Revision {
		t.Error("revision did not change with the key")
	}
}

func TestSecretRefusals(t *testing.T) {
	hidden := secret("key", strings.Repeat("x", 40))
	hidden.Labels = nil
	denied := secret("key", strings.Repeat("x", 40))
	denied.Labels[v1alpha1.LabelAllow] = "false"
	for name, tt := range map[string]struct {
		secrets []corev1.Secret
		reason  string
		message string
	}{
		"missing":     {nil, v1alpha1.ReasonSecretNotFound, "Secret key does not exist"},
		"no label":    {[]corev1.Secret{hidden}, v1alpha1.ReasonSecretNotAllowed, "does not carry the label push.klaxon.dev/allow"},
		"other value": {[]corev1.Secret{denied}, v1alpha1.ReasonSecretNotAllowed, "does not carry the label"},
		"short":       {[]corev1.Secret{secret("key", "hunter2-hunter2")}, v1alpha1.ReasonSecretInvalid, "from 32 to 4096 bytes"},
		"long":        {[]corev1.Secret{secret("key", strings.Repeat("hunter2", 700))}, v1alpha1.ReasonSecretInvalid, "from 32 to 4096 bytes"},
		"no key": {
			[]corev1.Secret{{ObjectMeta: secret("key", "").ObjectMeta}},
			v1alpha1.ReasonSecretInvalid, "has no key value",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := manyChannels(2, "")
			s.Channels[0].Spec.Clients = &v1alpha1.ClientsSpec{JWT: []v1alpha1.JWTIssuer{{
				Issuer: "https://id.example.com", Audiences: []string{"shop"},
				HMACSecretRef: &v1alpha1.SecretKeyRef{Name: "key", Key: "value"},
			}}}
			s.Secrets = tt.secrets
			res := Compile(s.input())
			got := res.Refused[s.Channels[0].Name]
			if got.Reason != tt.reason || !strings.Contains(got.Message, tt.message) {
				t.Errorf("got %+v, want reason %s and a message with %q", got, tt.reason, tt.message)
			}
			if strings.Contains(got.Message, "hunter2") {
				t.Errorf("the message shows the Secret: %s", got.Message)
			}
			if n := len(res.Settings.Channels); n != 1 {
				t.Errorf("%d channels in the settings, want the other one", n)
			}
		})
	}
}

func TestToken(t *testing.T) {
	token := strings.Repeat("t", 40)
	for value, reason := range map[string]string{
		token + "\n":                     "",
		"  " + token + "\r\n":            "",
		token + " " + token:              v1alpha1.ReasonSecretInvalid,
		strings.Repeat(" ", 40):          v1alpha1.ReasonSecretInvalid,
		strings.Repeat("t", 40) + "\x7f": v1alpha1.ReasonSecretInvalid,
	} {
		s := manyChannels(1, "key")
		s.Secrets = []corev1.Secret{secret("key", value)}
		res := Compile(s.input())
		if got := res.Refused[s.Channels[0].Name].Reason; got != reason {
			t.Errorf("%q: reason %q, want %q", value, got, reason)
		}
	}
}

func TestOneNamespaceEach(t *testing.T) {
	const taken = v1alpha1.ReasonNamespaceTaken
	for name, tt := range map[string]struct {
		namespaces []string // of channel-0000, channel-0001, …; each is younger than the one before
		change     func(channels []v1alpha1.Channel)
		reasons    map[string]string // of the refused
	}{
		"defaults never meet":       {[]string{"", "", ""}, nil, nil},
		"the older keeps it":        {[]string{"/a", "/b", "/a", "/a"}, nil, map[string]string{"channel-0002": taken, "channel-0003": taken}},
		"a default is held as well": {[]string{"", "/channel-0000"}, nil, map[string]string{"channel-0001": taken}},
		"a default can come late":   {[]string{"/channel-0001", ""}, nil, map[string]string{"channel-0001": taken}},
		"names decide among twins": {[]string{"/a", "/a"}, func(c []v1alpha1.Channel) {
			c[0].CreationTimestamp = c[1].CreationTimestamp
		}, map[string]string{"channel-0001": taken}},
		"age comes before the name": {[]string{"/a", "/a"}, func(c []v1alpha1.Channel) {
			c[0].CreationTimestamp = metav1.Unix(1_800_000_000, 0)
		}, map[string]string{"channel-0000": taken}},
		"the refused hold nothing": {[]string{"/a", "/a"}, func(c []v1alpha1.Channel) {
			c[0].Spec.Publishers = []v1alpha1.PublisherSpec{{TokenSecretRef: &v1alpha1.SecretKeyRef{Name: "none", Key: "value"}}}
		}, map[string]string{"channel-0000": v1alpha1.ReasonSecretNotFound}},
		"what is no namespace": {[]string{"a", "a"}, nil, map[string]string{
			"channel-0000": v1alpha1.ReasonInvalid, "channel-0001": v1alpha1.ReasonInvalid,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := manyChannels(len(tt.namespaces), "")
			for i, ns := range tt.namespaces {
				s.Channels[i].Spec.SocketIO = &v1alpha1.SocketIOSpec{Namespace: ns}
			}
			if tt.change != nil {
				tt.change(s.Channels)
			}
			res := Compile(s.input())
			if err := res.Settings.Validate(); err != nil {
				t.Error(err)
			}
			if len(res.Refused) != len(tt.reasons) || len(res.Settings.Channels) != len(s.Channels)-len(tt.reasons) {
				t.Errorf("%d served, refused: %v", len(res.Settings.Channels), res.Refused)
			}
			for channel, want := range tt.reasons {
				if got := res.Refused[channel].Reason; got != want {
					t.Errorf("%s: reason %q, want %q", channel, got, want)
				}
			}
		})
	}
}

func TestInvalidPusher(t *testing.T) {
	s := manyChannels(1, "")
	s.Pusher.Spec.Heartbeat = &v1alpha1.HeartbeatSpec{Interval: &metav1.Duration{Duration: time.Millisecond}}
	res := Compile(s.input())
	if res.Settings != nil || res.Pusher == nil || res.Pusher.Reason != v1alpha1.ReasonInvalid {
		t.Fatalf("got %+v, want a refused Pusher and no settings", res)
	}
	if !strings.Contains(res.Pusher.Message, "heartbeat.interval") {
		t.Errorf("the message does not name the field: %s", res.Pusher.Message)
	}
}

func secret(name, value string) corev1.Secret {
	return corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{v1alpha1.LabelAllow: "true"}},
		Data:       map[string][]byte{"value": []byte(value)},
	}
}

// TestBrokersSecrets are the Pusher's own: without them nothing of it is served.
func TestBrokersSecrets(t *testing.T) {
	good := func(name string, data map[string][]byte) corev1.Secret {
		return corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{v1alpha1.LabelAllow: "true"}}, Data: data,
		}
	}
	login := map[string][]byte{"username": []byte("edge"), "password": []byte("a password")}
	hidden := good("nats-login", login)
	hidden.Labels = nil
	for name, tt := range map[string]struct {
		spec    string
		secrets []corev1.Secret
		reason  string
	}{
		"nothing needed":    {`{"url": "nats://nats:4222"}`, nil, ""},
		"login":             {`{"url": "nats://nats:4222", "credentialsSecretRef": {"name": "nats-login"}}`, []corev1.Secret{good("nats-login", login)}, ""},
		"no such Secret":    {`{"url": "nats://nats:4222", "credentialsSecretRef": {"name": "nats-login"}}`, nil, v1alpha1.ReasonSecretNotFound},
		"not offered":       {`{"url": "nats://nats:4222", "credentialsSecretRef": {"name": "nats-login"}}`, []corev1.Secret{hidden}, v1alpha1.ReasonSecretNotAllowed},
		"no password":       {`{"url": "nats://nats:4222", "credentialsSecretRef": {"name": "nats-login"}}`, []corev1.Secret{good("nats-login", map[string][]byte{"username": []byte("edge")})}, v1alpha1.ReasonSecretInvalid},
		"no certificate":    {`{"url": "nats://nats:4222", "certificateSecretRef": {"name": "tls"}}`, []corev1.Secret{good("tls", map[string][]byte{"tls.key": []byte("key")})}, v1alpha1.ReasonSecretInvalid},
		"empty CA":          {`{"url": "nats://nats:4222", "caSecretRef": {"name": "ca", "key": "ca.crt"}}`, []corev1.Secret{good("ca", map[string][]byte{"ca.crt": {}})}, v1alpha1.ReasonSecretInvalid},
		"a CA that is huge": {`{"url": "nats://nats:4222", "caSecretRef": {"name": "ca", "key": "ca.crt"}}`, []corev1.Secret{good("ca", map[string][]byte{"ca.crt": make([]byte, maxCertificateBytes+1)})}, v1alpha1.ReasonSecretInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			var spec v1alpha1.NATSSpec
			if err := yaml.UnmarshalStrict([]byte(tt.spec), &spec); err != nil {
				t.Fatal(err)
			}
			in := scene{Pusher: v1alpha1.Pusher{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge"},
				Spec:       v1alpha1.PusherSpec{Broker: &v1alpha1.BrokerSpec{NATS: &spec}},
			}, Secrets: tt.secrets}.input()
			got := Compile(in)
			if tt.reason == "" && (got.Pusher != nil || got.Settings == nil || got.Settings.Pusher.NATS == nil) {
				t.Errorf("refused: %+v", got.Pusher)
			}
			if tt.reason != "" && (got.Pusher == nil || got.Pusher.Reason != tt.reason || got.Settings != nil) {
				t.Errorf("got %+v, want %s", got.Pusher, tt.reason)
			}
			in.SessionKey = nil // a laptop
			if got := Compile(in); got.Pusher != nil || got.Settings.Pusher.NATS != nil {
				t.Errorf("without a session key: %+v", got)
			}
		})
	}
}
