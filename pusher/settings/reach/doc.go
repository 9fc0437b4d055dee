// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reach says which addresses may be called because a Channel's author has named
// them. Whoever writes a URL into a Channel must not have the operator, or a push server,
// call what only these can reach.
package reach
