// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package door

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// backend says its name to whoever connects, and then what it is told.
func backend(t *testing.T, name string) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				fmt.Fprint(c, name)
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l
}

func dial(t *testing.T, d *Door) (net.Conn, string) {
	t.Helper()
	c, err := net.Dial("tcp", d.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	name := make([]byte, 1)
	_, _ = io.ReadFull(c, name)
	return c, string(name)
}

func TestDoor(t *testing.T) {
	d, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	a, b := backend(t, "a"), backend(t, "b")
	d.Let(a.Addr().String())
	d.Let(b.Addr().String())
	c, first := dial(t, d)
	if _, second := dial(t, d); first+second != "ab" && first+second != "ba" {
		t.Errorf("went to %s and %s", first, second)
	}
	d.Leave(a.Addr().String())
	for range 3 {
		if _, name := dial(t, d); name != "b" {
			t.Errorf("went to %q, which is left out", name)
		}
	}
	d.Let(a.Addr().String())
	_ = a.Close()
	for range 3 {
		if _, name := dial(t, d); name != "b" {
			t.Errorf("went to %q, which does not accept", name)
		}
	}
	// What was connected stays so, and ends in both directions.
	fmt.Fprint(c, "still")
	half, _ := c.(*net.TCPConn)
	_ = half.CloseWrite()
	if rest, err := io.ReadAll(c); err != nil || string(rest) != "still" {
		t.Errorf("%q, %v", rest, err)
	}
	open, _ := dial(t, d)
	d.Close()
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("a connection outlives the door")
	}
}
