// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package meter

import (
	"os"
	"testing"
	"time"
)

// TestOwnProcess compares with what this process knows of itself.
func TestOwnProcess(t *testing.T) {
	before, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 32<<20)
	for p := before; p.CPU < before.CPU+200*time.Millisecond; { // until enough is used, however long that takes
		for i := range block {
			block[i]++
		}
		if p, err = ReadProcess(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	after, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.User <= before.User || after.User > after.CPU+time.Second {
		t.Errorf("user time went from %v to %v, of %v", before.User, after.User, after.CPU)
	}
	if grown := after.RSS - before.RSS; grown < 24<<20 {
		t.Errorf("RSS grew by %d bytes, not by %d", grown, len(block))
	}
	if _, err := ReadProcess(1 << 22); err == nil {
		t.Error("a process that cannot be is read")
	}
}

func TestMachine(t *testing.T) {
	m := ReadMachine()
	if m.Busy <= 0 || m.Kernel <= 0 || m.Memory < m.Kernel {
		t.Errorf("machine is %+v", m)
	}
	if CPUs() < 1 || Kernel() == "" || Load() == "" {
		t.Errorf("%d CPUs, kernel %q, load %q", CPUs(), Kernel(), Load())
	}
}
