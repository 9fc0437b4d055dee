// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/klaxon-dev/klaxon/pusher/settings"
)

const (
	// watchEvery is how often the settings' place is looked at. It costs one
	// system call; a mounted volume tells nobody reliably when it changes.
	watchEvery = 200 * time.Millisecond
	// retryAfter is how soon settings that could not be loaded are tried again,
	// unless they change before.
	retryAfter = 2 * time.Second
)

// Watch reloads the settings at path whenever they change, until ctx is done.
// Settings that cannot be loaded leave the earlier ones in force, and show in
// /status. served is the fingerprint (see Fingerprint) of what is served.
func (srv *Server) Watch(ctx context.Context, path, served string) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	var failedAt time.Time
	seen := served
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := Fingerprint(path)
		if now == seen && (failedAt.IsZero() || time.Since(failedAt) < retryAfter) {
			continue
		}
		again := now == seen
		seen, failedAt = now, time.Time{}
		if err := srv.reloadFrom(path); err != nil {
			failedAt = time.Now()
			if !again {
				srv.log.Error("keeping the settings that are served", "error", err)
			}
		}
	}
}

func (srv *Server) reloadFrom(path string) error {
	s, err := settings.Load(path)
	if err != nil {
		srv.refuse(err)
		return err
	}
	if s.Revision == srv.current.Load().settings.Revision {
		srv.settingsError.Store(nil)
		return nil
	}
	return srv.Reload(s)
}

// Fingerprint changes whenever the settings at path may have changed. In a
// mounted volume that is the target of ..data, which is swapped at once for all
// files; elsewhere it is the state of the file or of the directory's index.
func Fingerprint(path string) string {
	if target, err := os.Readlink(filepath.Join(path, "..data")); err == nil {
		return target
	}
	fi, err := os.Stat(path)
	if err == nil && fi.IsDir() {
		fi, err = os.Stat(filepath.Join(path, settings.IndexFile))
	}
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d/%d", fi.ModTime().UnixNano(), fi.Size())
}
