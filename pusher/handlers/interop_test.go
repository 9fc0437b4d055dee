// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package handlers

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	webhook "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// decoded is an attribute of a header without the percent-encoding that the SDK leaves.
func decoded(v any) string {
	s, _ := url.PathUnescape(fmt.Sprint(v))
	return s
}

// TestOthersUnderstandCalls: libraries that have nothing of ours verify a call's signature
// and read it as a CloudEvent.
func TestOthersUnderstandCalls(t *testing.T) {
	verifier, err := webhook.NewWebhook("whsec_" + base64.StdEncoding.EncodeToString(signingKey))
	if err != nil {
		t.Fatal(err)
	}
	c := caller(t)
	tg := target(t, c, backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := verifier.Verify(body, r.Header); err != nil {
			t.Errorf("the signature: %v", err)
		}
		if verifier.Verify(append(body, ' '), r.Header) == nil {
			t.Error("the signature is one of anything")
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		ev, err := binding.ToEvent(context.Background(), cehttp.NewMessageFromHttpRequest(r))
		if err != nil {
			t.Errorf("the CloudEvent: %v", err)
			return
		}
		if err := ev.Validate(); err != nil || ev.ID() != "S.1" || ev.Type() != TypeEvent || ev.Subject() != "S" || ev.Source() != "/namespaces/shop/channels/orders" ||
			ev.DataContentType() != "application/json" || string(ev.Data()) != string(body) || decoded(ev.Extensions()["event"]) != "say \"hi\"" || decoded(ev.Extensions()["user"]) != "änn" {
			t.Errorf("the CloudEvent is %s, %v", ev, err)
		}
	}))
	if _, err := c.Do(t.Context(), tg, event(`[1]`)); err != nil {
		t.Fatal(err)
	}
}
