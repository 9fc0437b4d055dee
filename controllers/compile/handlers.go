// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// signingPrefix is how Standard Webhooks begins a key that is written in base64.
const signingPrefix = "whsec_"

// handlers compiles who is told what a Channel's clients do.
func (in *Input) handlers(ch *v1alpha1.Channel, read secretReader) ([]settings.Handler, *Refusal) {
	var out []settings.Handler
	for i := range ch.Spec.Handlers {
		h := &ch.Spec.Handlers[i]
		one := settings.Handler{}
		for _, e := range h.Events {
			one.Events = append(one.Events, string(e))
		}
		for _, room := range h.Rooms {
			one.Rooms = append(one.Rooms, string(room))
		}
		if !h.Stream {
			var refusal *Refusal
			if one.URL, refusal = in.handlerURL(ch, h); refusal != nil {
				return nil, refusal
			}
			one.Loopback = in.Local
			one.Timeout = settings.Duration(duration(h.Timeout, defaultHandlerTimeout))
			if one.Concurrency = defaultHandlerConcurrency; h.Concurrency != nil {
				one.Concurrency = int64(*h.Concurrency)
			}
			for _, ref := range h.SigningSecretRefs {
				key, refusal := read.signingKey(ref)
				if refusal != nil {
					return nil, refusal
				}
				one.Keys = append(one.Keys, key)
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// handlerURL is where a handler is called.
func (in *Input) handlerURL(ch *v1alpha1.Channel, h *v1alpha1.HandlerSpec) (string, *Refusal) {
	if s := h.Service; s != nil {
		host, port, path := s.Name+"."+ch.Namespace+".svc", int32(80), "/"
		if in.Local {
			host = "127.0.0.1"
		}
		if s.Port != nil {
			port = *s.Port
		}
		if s.Path != "" {
			path = s.Path
		}
		return fmt.Sprintf("http://%s:%d%s", host, port, path), nil
	}
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" {
		return "", &Refusal{v1alpha1.ReasonInvalid, "set exactly one of service, url and stream: true in each handler"}
	}
	if in.Local {
		return h.URL, nil
	}
	for _, o := range in.Pusher.Spec.AllowedHandlerOrigins {
		if within(u, string(o)) {
			return h.URL, nil
		}
	}
	return "", &Refusal{v1alpha1.ReasonHandlerNotAllowed, fmt.Sprintf(
		"The handler's url %s://%s is not among spec.allowedHandlerOrigins of Pusher %s: add its origin there, or use a service", u.Scheme, u.Host, in.Pusher.Name)}
}

// within reports whether a URL is of an origin as in the API: "*." stands for one or more
// labels, and "*" alone for every origin.
func within(u *url.URL, origin string) bool {
	if origin == "*" {
		return true
	}
	scheme, rest, _ := strings.Cut(origin, "://")
	host, port, _ := strings.Cut(rest, ":")
	standard := map[string]string{"http": "80", "https": "443"}[scheme]
	if port == "" {
		port = standard
	}
	theirs := u.Port()
	if theirs == "" {
		theirs = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	name := strings.ToLower(u.Hostname())
	below, wild := strings.CutPrefix(host, "*")
	return u.Scheme == scheme && port == theirs && (name == host || wild && strings.HasSuffix(name, below))
}

// signingKey returns the bytes of a key that signs calls.
func (r secretReader) signingKey(ref v1alpha1.SecretKeyRef) ([]byte, *Refusal) {
	value, refusal := r.value(ref)
	if refusal != nil {
		return nil, refusal
	}
	if coded, ok := bytes.CutPrefix(bytes.TrimSpace(value), []byte(signingPrefix)); ok {
		var err error
		if value, err = base64.StdEncoding.DecodeString(string(coded)); err != nil {
			return nil, &Refusal{v1alpha1.ReasonSecretInvalid, fmt.Sprintf("Key %s of Secret %s is not %s and base64", ref.Key, ref.Name, signingPrefix)}
		}
	}
	if len(value) < settings.MinHandlerKey || len(value) > settings.MaxHandlerKey {
		return nil, &Refusal{v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"Key %s of Secret %s must hold from %d to %d bytes", ref.Key, ref.Name, settings.MinHandlerKey, settings.MaxHandlerKey)}
	}
	return value, nil
}
