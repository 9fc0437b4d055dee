// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package meter

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on Linux.
const tick = 10 * time.Millisecond

// Process is what one process has used so far.
type Process struct {
	// CPU is user and system time of all threads, exact to the nanosecond; User
	// the part outside the kernel, in hundredths of a second.
	CPU, User time.Duration
	// RSS is resident memory in bytes.
	RSS int64
}

// ReadProcess reads a process.
func ReadProcess(pid int) (Process, error) {
	p := Process{}
	var ts unix.Timespec
	// The clock of a process's CPU time has a number that is made of its id: see
	// clock_getcpuclockid(3).
	if err := unix.ClockGettime(int32(^pid<<3|2), &ts); err != nil { //nolint:gosec // a process id has 22 bits
		return p, fmt.Errorf("read the CPU time of process %d: %w", pid, err)
	}
	p.CPU = time.Duration(ts.Nano())
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, err
	}
	// Fields are counted from behind the name, which may hold anything: proc(5).
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const utime, rss = 11, 21
	if len(fields) <= rss {
		return p, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	p.User = time.Duration(number(fields[utime])) * tick
	p.RSS = number(fields[rss]) * int64(os.Getpagesize())
	return p, nil
}

// Machine is what the whole machine has used so far.
type Machine struct {
	// Busy is the CPU time of all cores that was neither idle nor stolen.
	Busy time.Duration
	// Kernel is what the kernel holds in caches of its objects and in the
	// buffers of TCP sockets, in bytes.
	Kernel int64
	// Memory is how much there is, in bytes.
	Memory int64
}

// ReadMachine reads the machine. What cannot be read is 0.
func ReadMachine() Machine {
	var m Machine
	if cpu := strings.Fields(line("/proc/stat", "cpu ")); len(cpu) >= 8 {
		for _, kind := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
			m.Busy += time.Duration(number(cpu[kind])) * tick
		}
	}
	m.Kernel = kilobytes("Slab:")
	m.Memory = kilobytes("MemTotal:")
	tcp := strings.Fields(line("/proc/net/sockstat", "TCP:"))
	if len(tcp) > 0 {
		m.Kernel += number(tcp[len(tcp)-1]) * int64(os.Getpagesize()) // "mem", the last, in pages
	}
	return m
}

// Model is what the processor calls itself.
func Model() string {
	_, model, _ := strings.Cut(line("/proc/cpuinfo", "model name"), ": ")
	return model
}

// Load is the load average of the last minute.
func Load() string {
	load, _, _ := strings.Cut(line("/proc/loadavg", ""), " ")
	return load
}

// Kernel is the version of the kernel.
func Kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// CPUs is how many processors this process may run on.
func CPUs() int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0
	}
	return set.Count()
}

func kilobytes(name string) int64 {
	if f := strings.Fields(line("/proc/meminfo", name)); len(f) > 1 {
		return number(f[1]) * 1024
	}
	return 0
}

// line returns the first line of a file that begins so.
func line(file, begin string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(b)) {
		if strings.HasPrefix(l, begin) {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
