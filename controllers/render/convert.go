// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"fmt"
)

// convert turns a part of the API's own types into its apply configuration.
// Both have the same JSON; the fields that a user left out stay unset.
func convert[T any](from any) *T {
	b, err := json.Marshal(from)
	if err != nil {
		panic(fmt.Sprintf("render: %T cannot be marshalled: %v", from, err))
	}
	to := new(T)
	if err := json.Unmarshal(b, to); err != nil {
		panic(fmt.Sprintf("render: %T is no %T: %v", from, to, err))
	}
	return to
}

func convertAll[T, F any](from []F) []T {
	var out []T
	for i := range from {
		out = append(out, *convert[T](from[i]))
	}
	return out
}

// plain drops the named type of a map's values.
func plain[V ~string](from map[string]V) map[string]string {
	out := make(map[string]string, len(from)+8)
	for k, v := range from {
		out[k] = string(v)
	}
	return out
}
