// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandlePrintsAndAnswers(t *testing.T) {
	call := func(p *printer, body string) (int, string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		if body != "no call" {
			r.Header.Set("Ce-Type", "dev.klaxon.client.event")
		}
		w := httptest.NewRecorder()
		p.ServeHTTP(w, r)
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	var out bytes.Buffer
	p := &printer{out: &out, answer: []byte(`{"ack":["ok"]}`)}
	if code, body := call(p, "{\n\"args\": [1]}"); code != http.StatusOK || body != `{"ack":["ok"]}` || out.String() != "{\"args\":[1]}\n" {
		t.Errorf("%d %s, printed %q", code, body, out.String())
	}
	p.echo = true
	if _, body := call(p, `{"args":[1.50,{"_placeholder":true,"num":0}],"attachments":["AA=="]}`); body != `{"ack":{"args":[1.50,{"_placeholder":true,"num":0}],"attachments":["AA=="]}}` {
		t.Errorf("the echo is %s", body)
	}
	if _, body := call(p, `{"type":"dev.klaxon.client.connected"}`); body != `{"ack":["ok"]}` {
		t.Errorf("to what has no arguments the answer is %s", body)
	}
	if code, _ := call(p, "no call"); code != http.StatusBadRequest {
		t.Errorf("what is no call is answered %d", code)
	}
}
