// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// manyChannels makes n Channels of Pusher edge, each a second younger than the
// one before; with a token Secret if one is named.
func manyChannels(n int, tokenSecret string) scene {
	s := scene{Pusher: v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge"}}}
	for i := range n {
		ch := v1alpha1.Channel{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: fmt.Sprintf("channel-%04d", i),
			CreationTimestamp: metav1.Unix(int64(1_700_000_000+i), 0),
		}}
		ch.Spec.Clients = &v1alpha1.ClientsSpec{AllowedOrigins: []v1alpha1.Origin{
			v1alpha1.Origin(fmt.Sprintf("https://team-%d.example.com", i)),
		}}
		if tokenSecret != "" {
			ch.Spec.Publishers = []v1alpha1.PublisherSpec{{TokenSecretRef: &v1alpha1.SecretKeyRef{Name: tokenSecret, Key: "value"}}}
		}
		s.Channels = append(s.Channels, ch)
	}
	return s
}

// swell gives Channels lists that no compression shortens: about 30 KiB each.
func swell(s *scene) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range s.Channels {
		var list []v1alpha1.PublisherSpec
		for range 64 {
			name := make([]byte, 250)
			for j := range name {
				name[j] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-."[rnd.IntN(64)]
			}
			list = append(list, v1alpha1.PublisherSpec{ServiceAccount: &v1alpha1.ServiceAccountRef{Name: string(name)}})
		}
		s.Channels[i].Spec.Publishers = list
	}
}

func TestThousandChannels(t *testing.T) {
	s := manyChannels(1000, "")
	res := Compile(s.input())
	if len(res.Refused) != 0 || len(res.Settings.Channels) != 1000 {
		t.Fatalf("%d channels, refused: %v", len(res.Settings.Channels), res.Refused)
	}
	if err := res.Settings.Validate(); err != nil {
		t.Fatal(err)
	}
	packed, err := settings.Pack(res.Settings)
	if err != nil {
		t.Fatal(err)
	}
	if len(packed.Parts) != 1 {
		t.Errorf("%d parts for 1,000 small channels, want 1", len(packed.Parts))
	}
}

func TestOldestThatFit(t *testing.T) {
	s := manyChannels(400, "")
	swell(&s)
	rand.Shuffle(len(s.Channels), func(i, j int) { s.Channels[i], s.Channels[j] = s.Channels[j], s.Channels[i] })
	start := time.Now()
	res := Compile(s.input())
	t.Logf("400 large channels: %d fit, found in %s", len(res.Settings.Channels), time.Since(start))
	if _, err := settings.Pack(res.Settings); err != nil {
		t.Fatalf("what is said to fit does not: %v", err)
	}
	n := len(res.Settings.Channels)
	if n == 0 || n == 400 || n+len(res.Refused) != 400 {
		t.Fatalf("%d fit, %d refused", n, len(res.Refused))
	}
	for i, ch := range res.Settings.Channels {
		if want := fmt.Sprintf("channel-%04d", i); ch.Name != want {
			t.Fatalf("place %d holds %s, want the oldest: %s", i, ch.Name, want)
		}
	}
	for name, r := range res.Refused {
		if r.Reason != v1alpha1.ReasonSettingsTooLarge || !strings.Contains(r.Message, "Pusher edge") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// One more does not fit.
	for i := range s.Channels {
		if s.Channels[i].Name == fmt.Sprintf("channel-%04d", n) {
			extra, _ := (&Input{}).channelSettings(&s.Channels[i])
			res.Settings.Channels = append(res.Settings.Channels, extra)
		}
	}
	res.Settings.Seal()
	if _, err := settings.Pack(res.Settings); err == nil {
		t.Error("one more Channel would have fitted")
	}
}

func BenchmarkThousandChannels(b *testing.B) {
	s := manyChannels(1000, "")
	in := s.input()
	b.Run("compile", func(b *testing.B) {
		for b.Loop() {
			Compile(in)
		}
	})
	res := Compile(in)
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			if _, err := settings.Pack(res.Settings); err != nil {
				b.Fatal(err)
			}
		}
	})
}
