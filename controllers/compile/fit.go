// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
	"github.com/klaxon-dev/klaxon/pusher/settings"
)

// surelyFits is a size of unpacked JSON that always fits: gzip adds a few bytes
// per 64 KiB to what it cannot compress, a thousandth is far more than that.
const surelyFits = settings.MaxParts * settings.PartBytes / 1000 * 999

// fit returns how many of the Channels, oldest first, have room in one
// document. Only a document that might not fit is packed at all, and then the
// number is found by bisection.
func fit(p settings.Pusher, oldestFirst []candidate) int {
	size := jsonSize(p)
	for i := range oldestFirst {
		size += jsonSize(oldestFirst[i].settings) + revisionRoom
	}
	if size <= surelyFits {
		return len(oldestFirst)
	}
	return sort.Search(len(oldestFirst), func(n int) bool {
		_, err := settings.Pack(assemble(p, oldestFirst[:n+1]))
		return errors.Is(err, settings.ErrTooLarge)
	})
}

// revisionRoom is more than a revision and a comma add to a Channel's JSON.
const revisionRoom = 64

func jsonSize(v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("compile: %T cannot be marshalled: %v", v, err))
	}
	return len(b)
}

func tooLarge(pusher string, fitted int) Refusal {
	return Refusal{v1alpha1.ReasonSettingsTooLarge, fmt.Sprintf(
		"The settings of Pusher %s have room for the %d Channels that are older than this one: move this Channel to another Pusher, or shorten the lists of origins, issuers and publishers",
		pusher, fitted)}
}
