// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package pusher

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// reservedFDs are kept for listeners, publishers, probes and files.
const reservedFDs = 512

// connectionLimit is how many client connections the process has descriptors for.
// Go raises the soft limit to the hard one at start.
func connectionLimit() (int64, error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("pusher: getrlimit: %w", err)
	}
	n := int64(min(r.Cur, 1<<30)) - reservedFDs
	if n < 1 {
		return 0, errors.New("pusher: the limit of open files is too low: raise it above 512 (ulimit -n)")
	}
	return n, nil
}
