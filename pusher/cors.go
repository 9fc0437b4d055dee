// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import "net/http"

// allow lets a page of the origin read the response, also when it asked with
// credentials (WHATWG Fetch, section 3.2). The origin is named, never "*", which
// goes with no credentials.
func allow(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
}

// preflight answers a browser that asks whether a page may send its request.
func preflight(w http.ResponseWriter, r *http.Request, methods string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", methods)
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
