// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package jetstream

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/klaxon-dev/klaxon/pusher/broker"
)

// ErrUnknownChannel means that the broker has no log of that channel.
var ErrUnknownChannel = broker.ErrUnknownChannel

// ErrClosed means that Close has been called.
var ErrClosed = errors.New("the broker is closed")

// UnavailableError means that NATS could not be asked, or did not answer in time.
// Of events that were being published it is then not known whether they are
// stored: with an id of their own they can be published again.
type UnavailableError struct{ err error }

func (e *UnavailableError) Error() string { return "NATS is not available: " + e.err.Error() }
func (e *UnavailableError) Unwrap() error { return e.err }

// Code is the stable word for the error that publishers are shown.
func (*UnavailableError) Code() string { return "broker_unavailable" }

// RefusedError means that NATS will not take the events, however often they are
// sent: they are larger than its max_payload, or over a limit of the account.
type RefusedError struct{ err error }

func (e *RefusedError) Error() string { return "NATS refuses the events: " + e.err.Error() }
func (e *RefusedError) Unwrap() error { return e.err }

// Code is the stable word for the error that publishers are shown.
func (*RefusedError) Code() string { return "broker_refused" }

// apiError is an error in an answer of JetStream.
type apiError struct {
	Status      int    `json:"code"`
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("JetStream: %s (%d)", e.Description, e.Code)
}

// Codes of JetStream's errors, from nats-server's list of errors.
const (
	codeDuplicateInProcess = 10158
	codeBatchIncomplete    = 10176
	codeTooManyInflight    = 10210
	codeBatchDuplicate     = 10201
	codeRollupFailed       = 10111
	codeNoMessage          = 10037
	codeWrongLastSequence  = 10071
	codeWrongLastConstant  = 10164
)

func codeOf(err error) int {
	var e *apiError
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// wrongLast reports whether the log's last sequence was not the expected one.
func wrongLast(err error) bool {
	c := codeOf(err)
	return c == codeWrongLastSequence || c == codeWrongLastConstant
}

// gone reports whether nobody answers for the stream: it does not exist, or has
// no leader.
func gone(err error) bool { return errors.Is(err, nats.ErrNoResponders) }
