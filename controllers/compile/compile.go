// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// Secrets looks up a Secret; nil when it does not exist. A Secret of which only
// the metadata is known may be returned when its labels do not offer it.
type Secrets func(namespace, name string) *corev1.Secret

// Input is everything that settings are made from.
type Input struct {
	// Pusher whose settings are wanted.
	Pusher *v1alpha1.Pusher
	// Channels that belong to it, in any order, their names distinct.
	Channels []v1alpha1.Channel
	// Secrets that the Pusher and the Channels may refer to.
	Secrets Secrets
	// KeySet returns the keys that are published at a URL, or says why there are none.
	KeySet func(url string) (json.RawMessage, error)
	// Issuer verifies ServiceAccount tokens; nil when it is not known.
	Issuer *settings.ServiceAccountIssuer
	// AdminTokenSHA256 is the hex SHA-256 of the admin credential; empty: none.
	AdminTokenSHA256 string
	// Managed is the way to the broker that the operator runs for the Pusher. Nil: there
	// is none.
	Managed *settings.NATS
	// SessionKey is that of the settings. Empty: there is no broker but the memory of
	// one push server, whatever the Pusher says, as on a laptop.
	SessionKey []byte
	// Local has handlers that are Services called on this machine, by their port.
	Local bool
	// OpenPublishing is settings.Pusher.OpenPublishing.
	OpenPublishing bool
}

// Refusal says why an object cannot be served, in the words of a condition.
type Refusal struct {
	// Reason is one of the reasons of Accepted=False in api/v1alpha1.
	Reason string
	// Message says what to do about it.
	Message string
}

// Result is what compiling gives.
type Result struct {
	// Settings are sealed, valid and fit into the stored form. Nil when the
	// Pusher itself is refused.
	Settings *settings.Settings
	// Pusher is set when the Pusher itself is refused.
	Pusher *Refusal
	// Refused holds the Channels that are left out, by name.
	Refused map[string]Refusal
}

// Compile makes the settings of one Pusher.
func Compile(in Input) Result {
	res := Result{Refused: map[string]Refusal{}}
	pusher, refusal := pusherSettings(in)
	if refusal != nil {
		res.Pusher = refusal
		return res
	}
	if err := probe(pusher).Validate(); err != nil {
		res.Pusher = &Refusal{v1alpha1.ReasonInvalid, "The Pusher's spec cannot be served: " + oneLine(err)}
		return res
	}
	accepted := make([]candidate, 0, len(in.Channels))
	for i := range in.Channels {
		ch := &in.Channels[i]
		compiled, refusal := in.channelSettings(ch)
		if refusal == nil {
			refusal = invalid(pusher, compiled)
		}
		if refusal != nil {
			res.Refused[ch.Name] = *refusal
			continue
		}
		accepted = append(accepted, candidate{source: ch, settings: compiled})
	}
	slices.SortFunc(accepted, older)
	accepted = oneNamespaceEach(accepted, res.Refused)
	n := fit(pusher, accepted)
	for _, c := range accepted[n:] {
		res.Refused[c.source.Name] = tooLarge(in.Pusher.Name, n)
	}
	res.Settings = assemble(pusher, accepted[:n])
	return res
}

// candidate is a Channel that is accepted as far as it alone is concerned.
type candidate struct {
	source   *v1alpha1.Channel
	settings settings.Channel
}

// older orders Channels by creation time, then name.
func older(a, b candidate) int {
	return cmp.Or(a.source.CreationTimestamp.Compare(b.source.CreationTimestamp.Time), cmp.Compare(a.source.Name, b.source.Name))
}

// oneNamespaceEach keeps the first Channel of each Socket.IO namespace, and
// refuses the others. Channels that are refused already hold no namespace.
func oneNamespaceEach(oldestFirst []candidate, refused map[string]Refusal) []candidate {
	holder := make(map[string]string, len(oldestFirst))
	return slices.DeleteFunc(oldestFirst, func(c candidate) bool {
		ns := c.settings.SocketIO.Namespace
		first, taken := holder[ns]
		if taken {
			refused[c.source.Name] = Refusal{v1alpha1.ReasonNamespaceTaken, fmt.Sprintf(
				"Channel %s, which comes first by age and name, has the Socket.IO namespace %s: set another in spec.socketIO.namespace", first, ns)}
			return true
		}
		holder[ns] = c.source.Name
		return false
	})
}

// assemble seals a document of the given Channels, sorted by name.
func assemble(p settings.Pusher, from []candidate) *settings.Settings {
	s := &settings.Settings{Pusher: p, Channels: make([]settings.Channel, 0, len(from))}
	for _, c := range from {
		s.Channels = append(s.Channels, c.settings)
	}
	slices.SortFunc(s.Channels, func(a, b settings.Channel) int { return cmp.Compare(a.Name, b.Name) })
	s.Seal()
	return s
}
