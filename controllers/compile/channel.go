// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
	"github.com/klaxon-dev/klaxon/pusher/settings/rules"
)

// channelSettings compiles one Channel, or says why it cannot be served.
func (in *Input) channelSettings(ch *v1alpha1.Channel) (settings.Channel, *Refusal) {
	out := settings.Channel{
		Name:         ch.Name,
		UID:          string(ch.UID),
		Limits:       limits(ch.Spec.Limits),
		SlowClients:  slowClients(ch.Spec.SlowClients),
		History:      history(ch.Spec.History),
		Presence:     ch.Spec.Presence,
		TraceContext: ch.Spec.TraceContext,
		SocketIO:     socketIO(ch),
		CloudEvents:  cloudEvents(ch.Spec.CloudEvents),
		Compression:  compression(ch.Spec.Compression),
	}
	read := secretReader{namespace: ch.Namespace, secrets: in.Secrets}
	var refusal *Refusal
	if out.Clients, refusal = in.clients(ch.Spec.Clients, read); refusal != nil {
		return out, refusal
	}
	if out.Publishers, refusal = in.publishers(ch, read); refusal != nil {
		return out, refusal
	}
	out.Handlers, refusal = in.handlers(ch, read)
	return out, refusal
}

func (in *Input) clients(spec *v1alpha1.ClientsSpec, read secretReader) (settings.Clients, *Refusal) {
	if spec == nil {
		return settings.Clients{}, nil
	}
	out := settings.Clients{Anonymous: spec.Anonymous, Cookie: spec.Cookie}
	for _, o := range spec.AllowedOrigins {
		out.AllowedOrigins = append(out.AllowedOrigins, string(o))
	}
	for _, j := range spec.JWT {
		one, refusal := in.issuer(&j, read)
		if refusal != nil {
			return out, refusal
		}
		out.JWT = append(out.JWT, one)
	}
	if r := spec.Revoked; r != nil {
		out.Revoked = settings.Revoked{Users: r.Users, TokenIDs: r.TokenIDs}
	}
	var refusal *Refusal
	out.Rules, refusal = clientRules(spec.Rules)
	return out, refusal
}

// issuer finds an issuer's keys.
func (in *Input) issuer(j *v1alpha1.JWTIssuer, read secretReader) (settings.JWTIssuer, *Refusal) {
	out := settings.JWTIssuer{Issuer: j.Issuer, Audiences: j.Audiences, JWKSURL: j.JWKSURL, ClockSkew: settings.Duration(duration(j.ClockSkew, 0))}
	var refusal *Refusal
	sources := 0
	if j.JWKSURL != "" {
		sources++
		var err error
		if out.JWKS, err = in.KeySet(j.JWKSURL); err != nil {
			refusal = &Refusal{v1alpha1.ReasonKeysUnavailable, fmt.Sprintf("The jwksURL of issuer %s: %s: %s", j.Issuer, j.JWKSURL, err)}
		}
	}
	if j.JWKSSecretRef != nil {
		sources++
		out.JWKS, refusal = read.jwks(*j.JWKSSecretRef)
	}
	if j.HMACSecretRef != nil {
		sources++
		out.HMACKey, refusal = read.hmacKey(*j.HMACSecretRef)
	}
	if sources != 1 {
		refusal = &Refusal{v1alpha1.ReasonInvalid, "Set exactly one of jwksURL, jwksSecretRef and hmacSecretRef for issuer " + j.Issuer}
	}
	return out, refusal
}

// clientRules compiles rules to see that push servers can.
func clientRules(spec *v1alpha1.RulesSpec) (map[string]string, *Refusal) {
	if spec == nil {
		return nil, nil
	}
	out := map[string]string{}
	var wrong []string
	for _, r := range []struct {
		kind   rules.Kind
		source string
	}{{rules.Connect, spec.Connect}, {rules.Join, spec.Join}, {rules.Emit, spec.Emit}, {rules.Publish, spec.Publish}} {
		if r.source == "" {
			continue
		}
		if _, err := rules.Parse(r.kind, r.source); err != nil {
			wrong = append(wrong, fmt.Sprintf("clients.rules.%s: %s", r.kind, err))
		}
		out[string(r.kind)] = r.source
	}
	if wrong != nil {
		return nil, &Refusal{v1alpha1.ReasonRuleInvalid, strings.Join(wrong, "; ")}
	}
	return out, nil
}

const onePublisher = "set exactly one of serviceAccount, tokenSecretRef, jwt and anonymous: true in each publisher"

func (in *Input) publishers(ch *v1alpha1.Channel, read secretReader) (settings.Publishers, *Refusal) {
	var out settings.Publishers
	if len(ch.Spec.Publishers) == 0 {
		out.AnyInNamespace = ch.Namespace
		return out, nil
	}
	for i := range ch.Spec.Publishers {
		p := &ch.Spec.Publishers[i]
		entry, refusal := in.publisher(ch, p, read)
		switch {
		case refusal != nil:
			return out, refusal
		case entry.JWT != nil || len(p.Events)+len(p.Rooms) > 0:
			out.Entries = append(out.Entries, entry)
		case entry.Anonymous:
			out.Anonymous = true
		case entry.ServiceAccount != nil:
			out.ServiceAccounts = append(out.ServiceAccounts, *entry.ServiceAccount)
		default:
			out.TokenSHA256 = append(out.TokenSHA256, entry.TokenSHA256)
		}
	}
	return out, nil
}

// publisher compiles one entry.
func (in *Input) publisher(ch *v1alpha1.Channel, p *v1alpha1.PublisherSpec, read secretReader) (settings.PublisherEntry, *Refusal) {
	out := settings.PublisherEntry{Anonymous: p.Anonymous, Scope: settings.Scope{Events: texts(p.Events), Rooms: texts(p.Rooms)}}
	of := 0
	if p.Anonymous {
		of++
	}
	if sa := p.ServiceAccount; sa != nil {
		of++
		out.ServiceAccount = &settings.ServiceAccount{Namespace: cmp.Or(sa.Namespace, ch.Namespace), Name: sa.Name}
	}
	if ref := p.TokenSecretRef; ref != nil {
		of++
		token, refusal := read.token(*ref)
		if refusal != nil {
			return out, refusal
		}
		sum := sha256.Sum256([]byte(token))
		out.TokenSHA256 = hex.EncodeToString(sum[:])
	}
	if j := p.JWT; j != nil {
		of++
		issuer, refusal := in.issuer(&j.JWTIssuer, read)
		if refusal != nil {
			return out, refusal
		}
		out.JWT = &settings.PublisherJWT{JWTIssuer: issuer, Subjects: j.Subjects}
	}
	if of != 1 {
		return out, &Refusal{v1alpha1.ReasonInvalid, onePublisher}
	}
	return out, nil
}

// texts are patterns as plain strings.
func texts(patterns []v1alpha1.Pattern) (out []string) {
	for _, p := range patterns {
		out = append(out, string(p))
	}
	return out
}

func limits(spec *v1alpha1.LimitsSpec) settings.Limits {
	if spec == nil {
		spec = &v1alpha1.LimitsSpec{}
	}
	return settings.Limits{
		EventBytes:         quantity(spec.EventBytes, defaultEventBytes),
		Connections:        number(spec.Connections, defaultConnections),
		ConnectionsPerUser: number(spec.ConnectionsPerUser, 0),
		EmitRate:           number(spec.EmitRate, defaultEmitRate),
		TotalEmitRate:      number(spec.TotalEmitRate, 0),
		RoomsPerSession:    number(spec.RoomsPerSession, 0),
		JoinRate:           number(spec.JoinRate, defaultJoinRate),
		PublishRate:        number(spec.PublishRate, defaultPublishRate),
	}
}

func slowClients(spec *v1alpha1.SlowClientsSpec) settings.SlowClients {
	out := settings.SlowClients{BufferBytes: defaultBufferBytes, Policy: settings.Disconnect}
	if spec == nil {
		return out
	}
	out.BufferBytes = quantity(spec.BufferBytes, defaultBufferBytes)
	if spec.Policy != "" {
		out.Policy = settings.SlowClientPolicy(spec.Policy)
	}
	return out
}

func history(spec *v1alpha1.HistorySpec) settings.History {
	out := settings.History{Size: defaultHistorySize, TTL: settings.Duration(defaultHistoryTTL), Bytes: defaultHistoryBytes}
	if spec == nil {
		return out
	}
	if spec.Size != nil {
		out.Size = int64(*spec.Size)
	}
	out.TTL = settings.Duration(duration(spec.TTL, defaultHistoryTTL))
	out.Bytes = quantity(spec.Bytes, defaultHistoryBytes)
	return out
}

func socketIO(ch *v1alpha1.Channel) settings.SocketIO {
	out := settings.SocketIO{Namespace: Namespace(ch)}
	if spec := ch.Spec.SocketIO; spec != nil {
		out.Recovery = spec.Recovery
	}
	return out
}

// Namespace is a Channel's spec.socketIO.namespace or its default.
func Namespace(ch *v1alpha1.Channel) string {
	if spec := ch.Spec.SocketIO; spec != nil && spec.Namespace != "" {
		return spec.Namespace
	}
	return "/" + ch.Name
}

func cloudEvents(spec *v1alpha1.CloudEventsSpec) settings.CloudEvents {
	return settings.CloudEvents{IgnoreSubject: spec != nil && spec.Room == v1alpha1.CloudEventsRoomNone}
}

func compression(spec *v1alpha1.CompressionSpec) *settings.Compression {
	if spec == nil {
		return nil
	}
	return &settings.Compression{MinBytes: quantity(spec.MinBytes, defaultCompressBytes)}
}

func number(n *int32, otherwise int64) int64 {
	if n == nil {
		return otherwise
	}
	return int64(*n)
}

func quantity(q *resource.Quantity, otherwise int64) int64 {
	if q == nil {
		return otherwise
	}
	return q.Value()
}

// probe is a document of the given Channels that is valid if its content is:
// the revisions are only there to be found.
func probe(p settings.Pusher, channels ...settings.Channel) *settings.Settings {
	return &settings.Settings{Format: settings.Format, Revision: "probe", Pusher: p, Channels: channels}
}

// invalid is what the push server's own validation says of one Channel. The
// schema refuses most of it; manifests on disk have met no schema.
func invalid(p settings.Pusher, c settings.Channel) *Refusal {
	c.Revision = "probe"
	if err := probe(p, c).Validate(); err != nil {
		return &Refusal{v1alpha1.ReasonInvalid, "The Channel's spec cannot be served: " + oneLine(err)}
	}
	return nil
}

// oneLine shows joined errors in one line.
func oneLine(err error) string {
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
