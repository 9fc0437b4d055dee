// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	lockFile     = "lock" // in the store; the server keeps to a directory beside it
	lockInterval = 50 * time.Millisecond
)

// lock waits until no other process uses the store, and keeps others from it until
// release, or the end of the process. The server itself would share it: when a pod is
// deleted by force, the next one of its name starts while the old one still writes.
func (n *Node) lock(ctx context.Context) (release func(), err error) {
	dir := n.config.Store
	if dir == "" {
		return func() {}, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("make the store: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	release = func() { _ = f.Close() }
	for waiting := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return release, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			// Some file systems have no locks; they must not keep a node from starting.
			n.log.Warn("the store cannot be locked: see that no other process uses it", "store", dir, "error", err)
			return release, nil
		case !waiting:
			waiting = true
			n.log.Warn("another process uses the store: waiting until it has ended", "store", dir)
		}
		select {
		case <-ctx.Done():
			release()
			return nil, ctx.Err()
		case err := <-n.failed:
			release()
			return nil, err
		case <-time.After(lockInterval):
		}
	}
}
