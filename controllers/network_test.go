// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"slices"
	"testing"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

func TestWhomPodsHaveToDoWith(t *testing.T) {
	account := func(ns string) settings.ServiceAccount { return settings.ServiceAccount{Namespace: ns, Name: "a"} }
	other := account("other")
	for name, c := range map[string]struct {
		channel    settings.Channel
		nats       *settings.NATS
		managed    bool
		publishers []string
		outside    bool
	}{
		"own namespace":          {settings.Channel{Publishers: settings.Publishers{AnyInNamespace: "shop"}}, nil, false, []string{"shop"}, false},
		"other namespaces":       {settings.Channel{Publishers: settings.Publishers{ServiceAccounts: []settings.ServiceAccount{account("z"), account("b"), account("b")}}}, nil, false, []string{"b", "shop", "z"}, false},
		"a narrowed one":         {settings.Channel{Publishers: settings.Publishers{Entries: []settings.PublisherEntry{{ServiceAccount: &other}}}}, nil, false, []string{"other", "shop"}, false},
		"a static token":         {settings.Channel{Publishers: settings.Publishers{TokenSHA256: []string{"x"}}}, nil, false, nil, false},
		"anonymous":              {settings.Channel{Publishers: settings.Publishers{Anonymous: true}}, nil, false, nil, false},
		"a narrowed token":       {settings.Channel{Publishers: settings.Publishers{Entries: []settings.PublisherEntry{{TokenSHA256: "x"}}}}, nil, false, nil, false},
		"another cluster":        {settings.Channel{Publishers: settings.Publishers{Entries: []settings.PublisherEntry{{JWT: &settings.PublisherJWT{}}}}}, nil, false, nil, false},
		"a Service":              {settings.Channel{Handlers: []settings.Handler{{URL: "http://api.shop.svc:80/"}, {}}}, nil, false, []string{"shop"}, false},
		"a url":                  {settings.Channel{Handlers: []settings.Handler{{URL: "https://hooks.example.com/"}}}, nil, false, []string{"shop"}, true},
		"another's Service":      {settings.Channel{Handlers: []settings.Handler{{URL: "http://api.bank.svc:80/"}}}, nil, false, []string{"shop"}, true},
		"a name that looks like": {settings.Channel{Handlers: []settings.Handler{{URL: "http://shop.svc/"}}}, nil, false, []string{"shop"}, true},
		"a broker":               {settings.Channel{}, &settings.NATS{}, false, []string{"shop"}, true},
		"a managed broker":       {settings.Channel{}, &settings.NATS{}, true, []string{"shop"}, false},
	} {
		s := &settings.Settings{Pusher: settings.Pusher{Namespace: "shop", NATS: c.nats}, Channels: []settings.Channel{{}, c.channel}}
		got := network(s, "klaxon", c.managed)
		if !slices.Equal(got.Publishers, c.publishers) || got.Outside != c.outside || got.Operator != "klaxon" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
