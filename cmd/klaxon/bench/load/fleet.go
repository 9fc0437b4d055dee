// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/meter"
)

// spareFiles is how many descriptors a worker has for other than connections.
const spareFiles = 64

// Fleet is the worker processes and their connections.
type Fleet struct {
	board   *board
	workers []*process
}

// process is one worker as its fleet sees it.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// Start starts the workers by a command that calls Work. They open nothing yet.
func Start(c Config, command []string) (*Fleet, error) {
	whole, err := c.job()
	if err != nil {
		return nil, err
	}
	n, err := processes(&c)
	if err != nil {
		return nil, err
	}
	f := &Fleet{}
	if f.board, err = newBoard(n); err != nil {
		return nil, err
	}
	for i := range n {
		j := whole
		j.First = i * c.Connections / n
		j.Count = (i+1)*c.Connections/n - j.First
		j.Share = 1 / float64(n)
		if err := f.start(command, task{Job: &j, Slot: i}); err != nil {
			f.Close()
			return nil, fmt.Errorf("start worker %d: %w", i, err)
		}
	}
	return f, nil
}

// processes is how many workers the connections need.
func processes(c *Config) (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	each := int(min(limit.Max, 1<<30)) - spareFiles
	if each <= 0 {
		return 0, fmt.Errorf("the limit of open files, %d, is too low", limit.Max)
	}
	return max(1, c.Processes, (c.Connections+each-1)/each), nil
}

func (f *Fleet) start(command []string, t task) error {
	p := &process{cmd: exec.Command(command[0], command[1:]...)} //nolint:gosec // this executable
	p.cmd.Stderr = os.Stderr
	p.cmd.ExtraFiles = []*os.File{f.board.file}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.out = bufio.NewReaderSize(out, 1<<16)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	f.workers = append(f.workers, p)
	return p.send(t)
}

func (p *process) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = p.in.Write(append(b, '\n'))
	return err
}

// ask sends a command to all workers, then adds their answers up with add.
func ask[T any](f *Fleet, c command, add func(*T)) error {
	for i, p := range f.workers {
		if err := p.send(c); err != nil {
			return fmt.Errorf("tell worker %d to %s: %w", i, c.Do, err)
		}
	}
	for i, p := range f.workers {
		line, err := p.out.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("worker %d ended: %w", i, err)
		}
		var answer T
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("understand worker %d: %w", i, err)
		}
		add(&answer)
	}
	return nil
}

// Connect opens all connections; it returns when each is ready or has failed.
func (f *Fleet) Connect() (*Connected, error) {
	var sum Connected
	return &sum, ask(f, command{Do: doConnect}, sum.add)
}

// Begin counts from zero. That share of the connections (0 to 1) stops reading.
func (f *Fleet) Begin(slow float64) (*Members, error) {
	var sum Members
	return &sum, ask(f, command{Do: doBegin, Slow: slow}, sum.add)
}

// Resume lets those read again that have stopped.
func (f *Fleet) Resume() error {
	return ask(f, command{Do: doResume}, func(*struct{}) {})
}

// End returns what came since Begin, and what did not although so many events
// have been sent to each group since the fleet was started.
func (f *Fleet) End(sent []int) (*Received, error) {
	var sum Received
	return &sum, ask(f, command{Do: doEnd, Sent: sent}, sum.add)
}

// Live is what the connections have done so far, at any time.
func (f *Fleet) Live() Live { return f.board.sum() }

// Processes is how many workers there are.
func (f *Fleet) Processes() int { return len(f.workers) }

// CPU is how much CPU time the workers have used.
func (f *Fleet) CPU() time.Duration {
	var sum time.Duration
	for _, p := range f.workers {
		if use, err := meter.ReadProcess(p.cmd.Process.Pid); err == nil {
			sum += use.CPU
		}
	}
	return sum
}

// Close ends the workers, and so resets all connections.
func (f *Fleet) Close() {
	for _, p := range f.workers {
		_ = p.in.Close() // tells it to end
	}
	for _, p := range f.workers {
		_ = p.cmd.Wait() // what it had to say, it has written
	}
	f.board.close()
}

// Interrupt ends the workers in the middle of what they do, so that nobody waits
// for them. Close is still needed.
func (f *Fleet) Interrupt() {
	for _, p := range f.workers {
		_ = p.cmd.Process.Kill() // it may have ended
	}
}
