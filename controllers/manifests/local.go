// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/controllers/compile"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// Publishing says who may publish to a local push server.
type Publishing int

const (
	// OpenOnLoopback lets programs on this machine publish without a token.
	OpenOnLoopback Publishing = iota
	// WithToken asks for what the Channels ask for.
	WithToken
)

// Local compiles all Channels of the set for one push server on this machine,
// by the code that the operator uses. keySet is as in compile.Input. Channels that cannot be served are left
// out and reported. The Pusher's own settings are those of the only Pusher that
// the Channels have; with several, the defaults.
func (s *Set) Local(p Publishing, keySet func(url string) (json.RawMessage, error)) (*settings.Settings, []Problem) {
	var problems []Problem
	report := func(c *v1alpha1.Channel, reason, message string) {
		problems = append(problems, Problem{
			Object: "Channel " + c.Namespace + "/" + c.Name, Message: fmt.Sprintf("not accepted (%s): %s", reason, message),
		})
	}
	var served []v1alpha1.Channel
	names := map[string]bool{}
	for _, c := range s.Channels {
		reason, message := s.place(&c)
		switch {
		case reason != "":
			report(&c, reason, message)
		case names[c.Name]:
			report(&c, v1alpha1.ReasonConflict, "a Channel of this name in another namespace is served already: serve one namespace at a time")
		default:
			names[c.Name] = true
			served = append(served, c)
		}
	}
	res := compile.Compile(compile.Input{
		Pusher: s.localPusher(served), Channels: served, Local: true, OpenPublishing: p == OpenOnLoopback, KeySet: keySet,
		Secrets: func(namespace, name string) *corev1.Secret {
			return s.Secrets[types.NamespacedName{Namespace: namespace, Name: name}]
		},
	})
	if res.Pusher != nil {
		return nil, append(problems, Problem{Object: "Pusher", Message: res.Pusher.Message})
	}
	for i := range served {
		if r, ok := res.Refused[served[i].Name]; ok {
			report(&served[i], r.Reason, r.Message)
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return cmp.Compare(a.Object, b.Object) })
	return res.Settings, problems
}

// place says why a Channel has no Pusher, if so.
func (s *Set) place(c *v1alpha1.Channel) (reason, message string) {
	if c.Spec.PusherRef == nil {
		return "", ""
	}
	want := string(c.Spec.PusherRef.Name)
	for i := range s.Channels {
		if o := &s.Channels[i]; o.Namespace == c.Namespace && o.Name == want && o.Spec.PusherRef == nil {
			return v1alpha1.ReasonPusherOwned, "Pusher " + want + " belongs to the Channel of that name: refer to a Pusher that stands alone"
		}
	}
	if s.pusher(c.Namespace, want) == nil {
		return v1alpha1.ReasonPusherNotFound, "there is no Pusher " + want + " in namespace " + c.Namespace + ": add one, or remove pusherRef"
	}
	return "", ""
}

func (s *Set) pusher(namespace, name string) *v1alpha1.Pusher {
	for i := range s.Pushers {
		if p := &s.Pushers[i]; p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}

// localPusher makes up the one Pusher that serves all.
func (s *Set) localPusher(served []v1alpha1.Channel) *v1alpha1.Pusher {
	local := &v1alpha1.Pusher{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "local"}}
	specs := map[string]*v1alpha1.PusherSpec{}
	for i := range served {
		c := &served[i]
		local.Namespace = c.Namespace
		if c.Spec.PusherRef != nil {
			specs["ref "+string(c.Spec.PusherRef.Name)] = &s.pusher(c.Namespace, string(c.Spec.PusherRef.Name)).Spec
			continue
		}
		spec := c.Spec.Pusher
		if spec == nil {
			spec = &v1alpha1.PusherSpec{}
		}
		specs["own "+c.Name] = spec
	}
	if len(specs) == 1 {
		for _, spec := range specs {
			local.Spec = *spec
		}
	}
	return local
}
