// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// The backend of a chat with a typing indicator.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"time"
)

type call struct {
	Type, User, Event string
	Args              []any
	Query             map[string][]string
}

type emit struct {
	Event string `json:"event"`
	Args  []any  `json:"args"`
	To    string `json:"to"`
}

type answer struct {
	User string `json:"user,omitempty"`
	Ack  []any  `json:"ack,omitempty"`
	Emit []emit `json:"emit,omitempty"`
}

func reply(c call) answer {
	switch c.Type + " " + c.Event {
	case "dev.klaxon.client.connected ":
		name := append(c.Query["name"], "somebody")[0]
		return answer{User: name, Emit: []emit{{"joined", []any{name}, "others"}}}
	case "dev.klaxon.client.disconnected ":
		return answer{Emit: []emit{{"left", []any{c.User}, "others"}}}
	case "dev.klaxon.client.event chat message":
		return answer{Ack: []any{"delivered"}, Emit: []emit{{c.Event, append([]any{c.User}, c.Args...), "all"}}}
	case "dev.klaxon.client.event typing", "dev.klaxon.client.event stop typing":
		return answer{Emit: []emit{{c.Event, []any{c.User}, "others"}}}
	}
	return answer{}
}

func main() {
	http.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		var c call
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(reply(c)) // the push server may be gone
	})
	log.Fatal((&http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), ReadHeaderTimeout: time.Minute}).ListenAndServe())
}
