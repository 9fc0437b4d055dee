// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
)

// plaintextWarning is about passwords that people chose. Ours are random, and
// nodes need them plain anyway, to dial each other.
const plaintextWarning = "Plaintext passwords detected, use nkeys or bcrypt"

// logger gives what the server logs to slog.
type logger struct {
	log   *slog.Logger
	fatal func(error)
}

// Noticef logs what is worth knowing.
func (l *logger) Noticef(format string, v ...any) { l.log.Info(text(format, v)) }

// Warnf logs what may become wrong.
func (l *logger) Warnf(format string, v ...any) {
	if format != plaintextWarning {
		l.log.Warn(text(format, v))
	}
}

// Errorf logs what is wrong.
func (l *logger) Errorf(format string, v ...any) { l.log.Error(text(format, v)) }

// Debugf logs what helps to find out.
func (l *logger) Debugf(format string, v ...any) { l.log.Debug(text(format, v)) }

// Tracef logs nothing: it would be what clients send.
func (l *logger) Tracef(string, ...any) {}

// Fatalf ends the node: the server expects this call not to return.
func (l *logger) Fatalf(format string, v ...any) {
	l.fatal(errors.New(text(format, v)))
}

// login is the user and password of a URL.
var login = regexp.MustCompile(`://[^/@\s]*@`)

// text leaves out passwords: the server logs the URLs of routes as they are.
func text(format string, v []any) string {
	return login.ReplaceAllString(fmt.Sprintf(format, v...), "://")
}
