// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/klaxon-dev/klaxon/controllers/manifests"
	"github.com/klaxon-dev/klaxon/pusher"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// tryToken is how long a token made up for trying things out is good.
const tryToken = time.Hour

// printHowTo says what to paste to see the Channels work.
func printHowTo(w io.Writer, srv *pusher.Server, s *settings.Settings, set *manifests.Set) {
	clients, events := srv.ClientsAddr().String(), srv.EventsAddr().String()
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	p("Klaxon serves %d of %d Channels; changed manifests are served at once. Ctrl-C ends it.", len(s.Channels), len(set.Channels))
	p("status and metrics: http://%s/status http://%s/metrics", srv.AdminAddr(), srv.AdminAddr())
	for i := range s.Channels {
		c := &s.Channels[i]
		url, query, credentials := fmt.Sprintf("ws://%s/ws/%s", clients, c.Name), "", ""
		p("\nChannel %s", c.Name)
		switch token := tokenFor(c); {
		case token != "":
			query, credentials = "?token="+token, fmt.Sprintf(", {auth: {token: '%s'}}", token)
			url += query
			p("  (the token is good for an hour: user you, every room)")
		case !c.Clients.Anonymous:
			p("  (no client may connect: set clients.anonymous or clients.jwt)")
		}
		p("  listen in a terminal:  %s subscribe '%s'", os.Args[0], url)
		p("  listen in a browser:   open http://%s/, and in its console paste", clients)
		p("                         new WebSocket('%s').onmessage = m => console.log(m.data)", url)
		p("                         or     new EventSource('http://%s/sse/%s%s').addEventListener('hello', m => console.log(m.data))", clients, c.Name, query)
		if c.SocketIO.Namespace != "" {
			p("  listen with Socket.IO: io('http://%s%s'%s).on('hello', console.log)", clients, c.SocketIO.Namespace, credentials)
		}
		auth := ""
		if !s.Pusher.OpenPublishing {
			auth = " -H \"Authorization: Bearer $TOKEN\""
		}
		p("  publish:               curl%s -H 'Content-Type: application/json' \\", auth)
		p("                           -d '{\"event\":\"hello\",\"data\":{\"n\":1}}' http://%s/v1/channels/%s/events", events, c.Name)
	}
}

// tokenFor signs a token for a Channel that asks for one, with the key that the
// developer's own manifests hold.
func tokenFor(c *settings.Channel) string {
	if c.Clients.Anonymous || len(c.Clients.JWT) == 0 {
		return ""
	}
	issuer := c.Clients.JWT[0]
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: issuer.HMACKey}, nil)
	if err != nil {
		return ""
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: issuer.Issuer, Subject: "you", Audience: issuer.Audiences[:1],
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(tryToken)),
	}).Claims(map[string]any{"rooms": []string{"*"}}).Serialize()
	if err != nil {
		return ""
	}
	return token
}
