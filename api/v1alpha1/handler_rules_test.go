// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import "testing"

const (
	oneTargetRule = "set exactly one of service, url and stream: true in each handler"
	streamRule    = "a handler with stream: true is not called: leave timeout, concurrency and signingSecretRefs out"
	starRule      = "a * stands at the end, for example order.*"
	urlRule       = "write a handler's url as https://HOST/PATH, without a user or fragment"
	callTimeRule  = "a handler's timeout is a duration from 100ms to 30s"
	pathRule      = "a handler's path begins with / and has no fragment"
	serviceRule   = "a Service's name has lowercase letters, digits and '-'"
)

func TestHandlerRules(t *testing.T) {
	in := func(s string) string { return "{handlers: [{events: ['*'], " + s + "}]}" }
	events := func(s string) string { return "{handlers: [{stream: true, events: " + s + "}]}" }
	rules{
		{in("service: {name: api}"), ""},
		{in("service: {name: api, port: 8080, path: '/a/b?c=d'}"), ""},
		{in("url: 'https://hooks.example.com:8443/a?b=c'"), ""},
		{in("url: 'http://10.0.0.1'"), ""},
		{in("stream: true"), ""},
		{in("stream: false"), oneTargetRule},
		{in("service: {name: api}, url: 'https://a/'"), oneTargetRule},
		{in("service: {name: api}, stream: true"), oneTargetRule},
		{in("stream: true, timeout: 1s"), streamRule},
		{in("stream: true, signingSecretRefs: [{name: s, key: k}]"), streamRule},
		{in("url: 'https://user@host/'"), urlRule},
		{in("url: 'https://host/#a'"), urlRule},
		{in("url: 'ftp://host/'"), urlRule},
		{in("url: host"), urlRule},
		{in("service: {name: Api}"), serviceRule},
		{in("service: {name: api.other.svc}"), serviceRule},
		{in("service: {name: api, port: 0}"), "port"},
		{in("service: {name: api, path: a}"), pathRule},
		{in("service: {name: api}, timeout: 30s, concurrency: 10000"), ""},
		{in("service: {name: api}, timeout: 99ms"), callTimeRule},
		{in("service: {name: api}, timeout: 31s"), callTimeRule},
		{in("service: {name: api}, timeout: soon"), callTimeRule},
		{in("service: {name: api}, concurrency: 0"), "concurrency"},
		{in("service: {name: api}, concurrency: 10001"), "concurrency"},
		{in("service: {name: api}, signingSecretRefs: [{name: s, key: k}, {name: t, key: k}]"), ""},
		{in("service: {name: api}, signingSecretRefs: " + times(3, "{name: s, key: k}")), "must have at most 2 items"},
		{in("service: {name: api}, signingSecretRefs: []"), "should have at least 1 items"},
		{events("[connect, disconnect, 'order.*', typing]"), ""},
		{"{handlers: [{stream: true}]}", "name the events or the rooms that each handler wants to know of"},
		{"{handlers: [{stream: true, rooms: ['game:*', lobby]}]}", ""},
		{"{handlers: [{stream: true, rooms: ['*:1']}]}", starRule},
		{events("[]"), "should have at least 1 items"},
		{events("['']"), "events[0]"},
		{events("['a*b']"), starRule},
		{events("['**']"), starRule},
		{events("[" + long(129) + "]"), "Too long: may not be more than 128"},
		{events("[a, a]"), "Duplicate value"},
		{"{handlers: " + times(17, "{events: [a], stream: true}") + "}", "must have at most 16 items"},
	}.run(t, "Channel")
	rules{
		{"{allowedHandlerOrigins: ['https://*.example.com', 'http://10.0.0.1:8080', '*']}", ""},
		{"{allowedHandlerOrigins: ['https://example.com/']}", originRule},
	}.run(t, "Pusher")
}
