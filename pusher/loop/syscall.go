// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package loop

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// wakeData marks the eventfd among epoll's events; slots are never that high.
const wakeData = -1

// The calls below do not wait, so they are made without telling Go's scheduler:
// that alone halves what a delivery costs. Flags make sure of it even if a
// descriptor's mode were changed behind our back.

func read(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// skip reads as many bytes as b has room for, and leaves b as it is.
func skip(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
	return int(n), errno
}

func send(fd int, b []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

func sendv(fd int, vecs []unix.Iovec) (int, unix.Errno) {
	msg := unix.Msghdr{Iov: &vecs[0]}
	msg.SetIovlen(len(vecs))
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&msg)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	return int(n), errno
}

func drainEventfd(fd int) {
	var b [8]byte
	if _, err := unix.Read(fd, b[:]); err != nil && err != unix.EAGAIN {
		panic("loop: read from eventfd: " + err.Error())
	}
}

// closeFD closes a descriptor of ours. EINTR and delayed write errors leave it
// closed on Linux; EBADF means that somebody else closed it, which must not go
// unnoticed: the number may be another connection's by now.
func closeFD(fd int) {
	if err := unix.Close(fd); err == unix.EBADF {
		panic("loop: a descriptor was closed twice")
	}
}
