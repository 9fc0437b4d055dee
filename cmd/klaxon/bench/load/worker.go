// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/template"
)

// boardFile is the descriptor of the shared memory in a worker.
const boardFile = 3

// stdinIndex stands for standard input among the indexes of connections.
const stdinIndex = -1

// task is the first line that a worker reads.
type task struct {
	Job  *job
	Slot int
}

// command is every further line.
type command struct {
	Do   string
	Slow float64 `json:",omitempty"` // for begin
	Sent []int   `json:",omitempty"` // for end
}

// What a worker is told to do.
const (
	doConnect = "connect"
	doBegin   = "begin"
	doResume  = "resume"
	doEnd     = "end"
)

// worker is the one thread of a worker process.
type worker struct {
	// Static.
	job      *job
	path     template.Template
	headers  []template.Template
	first    []template.Template
	targets  []target
	epoll    int
	counters *counters
	in       *bufio.Reader
	out      io.Writer

	conns []conn
	buf   []byte // what was read
	msg   []byte // what is written

	// While connecting.
	connecting bool
	next       int   // connection to open
	pending    int   // handshakes under way
	progress   int64 // when one last began or ended
	source     byte  // how many source addresses have run out of ports
	connected  Connected

	// Since begin.
	received Received

	// Totals, as in counters.
	delivered, behind, ready, failed uint64
}

// Work is a worker process: it reads its task and its commands from standard
// input, answers to standard output, and ends with its input.
func Work() error {
	signal.Ignore(os.Interrupt) // a terminal sends it to all; the fleet says what to do
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	debug.SetGCPercent(400)
	w, err := newWorker(os.Stdin, os.Stdout)
	if err != nil {
		return fmt.Errorf("set up a worker: %w", err)
	}
	if err := w.run(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("work: %w", err)
	}
	return nil
}

func newWorker(in *os.File, out io.Writer) (*worker, error) {
	w := &worker{
		in: bufio.NewReaderSize(in, 1<<16), out: out, source: 0,
		buf: make([]byte, 256<<10), msg: make([]byte, 0, 4<<10),
	}
	var t task
	if err := w.read(&t); err != nil {
		return nil, err
	}
	w.job = t.Job
	board, err := openBoard(os.NewFile(boardFile, "board"))
	if err != nil {
		return nil, err
	}
	w.counters = board.slot(t.Slot)
	w.path = template.Parse(w.job.Path)
	for _, h := range w.job.Headers {
		w.headers = append(w.headers, template.Parse(h))
	}
	for _, m := range w.job.Protocol.First {
		w.first = append(w.first, template.Parse(m))
	}
	for _, t := range w.job.Targets {
		w.targets = append(w.targets, newTarget(t))
	}
	w.conns = make([]conn, w.job.Count)
	for i := range w.conns {
		w.conns[i] = conn{fd: -1, number: w.job.First + i, group: (w.job.First + i) % w.job.Groups()}
	}
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("create an epoll descriptor: %w", err)
	}
	return w, w.watch(int(in.Fd()), stdinIndex, unix.EPOLLIN)
}

func (w *worker) watch(fd, index int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(index)} //nolint:gosec // below the limit of descriptors
	return unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

// run returns io.EOF when the input has ended.
func (w *worker) run() error {
	events := make([]unix.EpollEvent, 1024)
	for {
		// Commands that arrived together are in the reader, where epoll sees nothing.
		for w.in.Buffered() > 0 {
			if err := w.command(); err != nil {
				return err
			}
		}
		timeout := -1
		if w.connecting {
			if err := w.connect(); err != nil {
				return err
			}
			timeout = 1
		}
		n, err := unix.EpollWait(w.epoll, events, timeout)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for sockets: %w", err)
		}
		for i := range max(n, 0) {
			if events[i].Fd != stdinIndex {
				w.event(&w.conns[events[i].Fd], events[i].Events)
			} else if err := w.command(); err != nil {
				return err
			}
		}
		w.counters.delivered.Store(w.delivered)
		w.counters.behind.Store(w.behind)
		w.counters.ready.Store(w.ready)
		w.counters.failed.Store(w.failed)
	}
}

// command does what the next line says.
func (w *worker) command() error {
	var c command
	if err := w.read(&c); err != nil {
		return err
	}
	switch c.Do {
	case doConnect:
		w.connecting = true
		w.connected.Began = mark.Now()
		w.progress = w.connected.Began
		return nil // answered when it is done
	case doBegin:
		return w.answer(w.begin(c.Slow))
	case doResume:
		w.resume()
		return w.answer(struct{}{})
	case doEnd:
		w.settle(c.Sent)
		return w.answer(&w.received)
	}
	return fmt.Errorf("there is no command %q", c.Do)
}

func (w *worker) read(v any) error {
	line, err := w.in.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

func (w *worker) answer(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.out.Write(append(b, '\n'))
	return err
}
