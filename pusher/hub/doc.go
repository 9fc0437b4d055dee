// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hub knows who is where inside one pod: channel → rooms, users,
// sessions. It takes events from the broker and hands them to the loops; a Table
// on each loop finds the members. A Delivery sees to it that an event is encoded
// once in each form that clients need, however many loops and clients there are.
//
// A Table belongs to one loop and has no lock. It names sessions by numbers and
// knows neither connections nor protocols, so it is tested bare. An event that names several
// rooms, users and sessions reaches a session in more than one of them once.
package hub
