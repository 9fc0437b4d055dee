// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"net/url"
	"slices"
	"strings"

	"github.com/klaxon-dev/klaxon/controllers/render"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// network says who the pods that serve the settings have to do with.
func network(s *settings.Settings, operator string, managedBroker bool) render.Network {
	own := s.Pusher.Namespace
	out := render.Network{Publishers: []string{own}, Operator: operator, Outside: s.Pusher.NATS != nil && !managedBroker}
	anywhere := false
	for i := range s.Channels {
		p := &s.Channels[i].Publishers
		anywhere = anywhere || p.Anonymous || len(p.TokenSHA256) > 0
		for _, sa := range p.ServiceAccounts {
			out.Publishers = append(out.Publishers, sa.Namespace)
		}
		for _, e := range p.Entries {
			if e.ServiceAccount == nil {
				anywhere = true
			} else {
				out.Publishers = append(out.Publishers, e.ServiceAccount.Namespace)
			}
		}
		for _, h := range s.Channels[i].Handlers {
			u, err := url.Parse(h.URL)
			out.Outside = out.Outside || h.URL != "" && (err != nil || !strings.HasSuffix(u.Hostname(), "."+own+".svc"))
		}
	}
	slices.Sort(out.Publishers)
	if out.Publishers = slices.Compact(out.Publishers); anywhere {
		out.Publishers = nil
	}
	return out
}
