// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/cmd/broker/status"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// fakePods answers for pods by their IP, and takes the nudges.
type fakePods struct {
	client.Client
	mu       sync.Mutex
	revision map[string]string
	full     map[string]bool
	nudged   map[string][]string // values, by pod name
}

func (*fakePods) NodeStatus(context.Context, string, string) (*status.Node, error) {
	return nil, errors.New("no broker here")
}

func (f *fakePods) PodStatus(_ context.Context, ip, _ string) (*settings.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.revision[ip] == "other credential" {
		return nil, ErrUnauthorized
	}
	if f.revision[ip] == "" {
		return nil, errors.New("no answer in time")
	}
	return &settings.Status{Revision: f.revision[ip], Full: f.full[ip]}, nil
}

func (f *fakePods) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.PatchOption) error {
	data, err := patch.Data(o)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nudged[o.GetName()] = append(f.nudged[o.GetName()], string(data))
	return err
}

func podAt(name, ip string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{v1alpha1.LabelAccepting: "true"}},
		Status: corev1.PodStatus{PodIP: ip, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		}},
	}
}

func TestNudges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := &fakePods{revision: map[string]string{"1": "old", "2": "new"}, nudged: map[string][]string{}}
		r, round := newRollouts(fake, fake), roundOf(nil)
		in := &gathered{pusher: round.pusher, pods: []corev1.Pod{podAt("behind", "1"), podAt("current", "2"), podAt("silent", "3"), podAt("starting", "")}}
		start := time.Now()
		var at []time.Duration
		for time.Since(start) < 5*time.Minute {
			before := len(fake.nudged["behind"])
			round.pods = r.observe(t.Context(), in, round)
			if len(fake.nudged["behind"]) > before {
				at = append(at, time.Since(start))
			}
			time.Sleep(r.next(round, 10*time.Second))
		}
		if len(fake.nudged) != 1 {
			t.Errorf("nudged: %v, want only the pod that is behind", fake.nudged)
		}
		seen := map[string]bool{}
		for i, value := range fake.nudged["behind"] {
			if seen[value] {
				t.Errorf("nudge %d repeats the value %s", i, value)
			}
			seen[value] = true
		}
		if at[0] != 0 || len(at) < 8 || len(at) > 11 {
			t.Errorf("nudged at %v, want at once and then with backoff", at)
		}
		for i := 2; i < len(at)-1; i++ {
			if gap, before := at[i]-at[i-1], at[i-1]-at[i-2]; gap < before {
				t.Errorf("gap %s after %s, want no shorter one", gap, before)
			}
		}

		fake.revision["1"], fake.revision["3"] = "new", "new"
		round.pods = r.observe(t.Context(), in, round)
		if got := r.next(round, 10*time.Second); got != 10*time.Second {
			t.Errorf("next round in %s though all pods are current", got)
		}
	})
}

// A pod that knows another admin credential is behind, though it does not say.
func TestPodsThatRefuseTheCredentialAreNudged(t *testing.T) {
	fake := &fakePods{revision: map[string]string{"1": "other credential"}, nudged: map[string][]string{}}
	r, round := newRollouts(fake, fake), roundOf(nil)
	round.pods = r.observe(t.Context(), &gathered{pusher: round.pusher, pods: []corev1.Pod{podAt("a", "1")}}, round)
	if len(fake.nudged["a"]) != 1 || r.next(round, time.Minute) != 100*time.Millisecond {
		t.Errorf("nudged: %v, next look in %s", fake.nudged, r.next(round, time.Minute))
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, round := newRollouts(nil, nil), roundOf(func(r *round) { r.pods = []podView{earlier("a")} })
		rounds, start := 0, time.Now()
		for time.Since(start) < 10*time.Minute {
			wait := r.next(round, 10*time.Second)
			if wait < 100*time.Millisecond {
				t.Fatalf("next round after %s", wait)
			}
			rounds++
			time.Sleep(wait)
		}
		if rounds > 400 {
			t.Errorf("%d rounds in 10m of a rollout that does not end", rounds)
		}
		round.compiled.Settings.Revision = "newer"
		if got := r.next(round, 10*time.Second); got != 100*time.Millisecond {
			t.Errorf("first look at another revision after %s, want at once", got)
		}
	})
}

func TestNothingIsNudgedThatMayNotChange(t *testing.T) {
	fake := &fakePods{revision: map[string]string{"1": "old"}, nudged: map[string][]string{}}
	r, round := newRollouts(fake, fake), roundOf(func(r *round) { r.pusher.Spec.Paused = true })
	round.pods = r.observe(t.Context(), &gathered{pusher: round.pusher, pods: []corev1.Pod{podAt("a", "1")}}, round)
	if len(fake.nudged) != 0 || r.next(round, time.Minute) != time.Minute {
		t.Errorf("a paused Pusher's pods were nudged: %v", fake.nudged)
	}
}

// countedKeys is a KeySource whose key is its number of reads, which may fail.
type countedKeys struct {
	mu    sync.Mutex
	reads int
	err   error
}

func (k *countedKeys) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *countedKeys) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.reads
}

func (k *countedKeys) ServiceAccountIssuer(context.Context) (*settings.ServiceAccountIssuer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reads++
	if k.err != nil {
		return nil, k.err
	}
	return &settings.ServiceAccountIssuer{Issuer: "i", JWKS: json.RawMessage(fmt.Sprint(k.reads))}, nil
}

func TestIdentity(t *testing.T) {
	run := func(name string, source *countedKeys, f func(*testing.T, *identity)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := newIdentity(source)
				ctx, stop := context.WithCancel(t.Context())
				go func() {
					if err := i.Start(ctx); err != nil {
						t.Error(err)
					}
				}()
				synctest.Wait()
				f(t, i)
				stop()
			})
		})
	}
	regular := &countedKeys{}
	run("is read regularly", regular, func(t *testing.T, i *identity) {
		time.Sleep(time.Hour + time.Second)
		if n := regular.count(); n != 7 {
			t.Errorf("%d reads in an hour, want 7", n)
		}
		regular.fail(errors.New("down"))
		time.Sleep(identityRefresh)
		if issuer, _ := i.current(); issuer == nil || string(issuer.JWKS) != "7" {
			t.Errorf("after a failure: %+v, want the last good", issuer)
		}
	})
	wished := &countedKeys{}
	run("is read when wished, within a bound", wished, func(t *testing.T, i *identity) {
		for range 600 {
			i.refresh()
			time.Sleep(100 * time.Millisecond)
		}
		if n := wished.count(); n < 6 || n > 7 {
			t.Errorf("%d reads in a minute of wishes, want one every 10s", n)
		}
	})
	failing := &countedKeys{err: errors.New("forbidden")}
	run("is not waited for for ever", failing, func(t *testing.T, i *identity) {
		if _, settled := i.current(); settled {
			t.Error("settled after the first failure")
		}
		time.Sleep(identityPatience + 2*identityRetry)
		synctest.Wait()
		if issuer, settled := i.current(); !settled || issuer != nil {
			t.Errorf("settled: %v with %+v, want given up", settled, issuer)
		}
		failing.fail(nil)
		time.Sleep(identityRetry)
		synctest.Wait()
		if issuer, _ := i.current(); issuer == nil {
			t.Error("the keys are not found though they can be read again")
		}
	})
}

func TestHTTPStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"good": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/status" || r.Header.Get("Authorization") != "Bearer secret" {
				w.WriteHeader(http.StatusUnauthorized)
			}
			fmt.Fprint(w, `{"revision":"r","later":"field","channels":{}}`)
		}, ""},
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "/status answers 401 Unauthorized"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://elsewhere.example.com/", http.StatusFound)
		}, "/status answers 302 Found"},
		"no status": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }, "/status cannot be read"},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"revision":"`+strings.Repeat("x", maxStatus)+`"}`)
		}, "/status cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(tt.handler)
			defer srv.Close()
			reader := NewStatusReader().(*httpStatus)
			transport := reader.client.Transport.(*http.Transport)
			transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, srv.Listener.Addr().String())
			}
			status, err := reader.PodStatus(t.Context(), "fd00::1", "secret")
			switch {
			case tt.want == "" && (err != nil || status.Revision != "r"):
				t.Errorf("got %+v, %v", status, err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// Conditions must not change with every attempt: no ports, no times.
func TestErrorsOfPodsAreSteady(t *testing.T) {
	_, err := NewStatusReader().PodStatus(t.Context(), "127.0.0.1", "secret")
	if err == nil || strings.ContainsAny(err.Error(), "0123456789") {
		t.Errorf("error %q, want one without addresses", err)
	}
}
