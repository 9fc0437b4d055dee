// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout is how long a process may take until it is ready.
	startTimeout = 60 * time.Second
	// endTimeout is how long it may take to end when it is asked to.
	endTimeout = 40 * time.Second
	// askEvery is how often a process is asked whether it is ready.
	askEvery = 50 * time.Millisecond
	// answerTimeout is how long it may take to answer.
	answerTimeout = 2 * time.Second
)

// forks starts processes from one thread that never ends: they are killed when it
// does.
var forks = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for fn := range work {
			fn()
		}
	}()
	return work
})

// fork starts a command that ends with this program.
func fork(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // a terminal's ^C is for this program alone
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	forks() <- func() { started <- cmd.Start() }
	return <-started
}

// process is a program that may be started again.
type process struct {
	name string
	args []string
	log  string // file
	env  []string

	// While it runs.
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// start runs it.
func (p *process) start() error {
	return p.startAs(exec.Command(p.args[0], p.args[1:]...))
}

// startAs runs a command that is, or becomes, the program.
func (p *process) startAs(cmd *exec.Cmd) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), p.env...)
	if err := fork(cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		defer close(done)
		_ = cmd.Wait() // ended says how
	}()
	return nil
}

// Kill ends it as a crash would.
func (p *process) Kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Term asks it to end, and waits until it has.
func (p *process) Term(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(endTimeout):
		return fmt.Errorf("%s has not ended within %s", p.name, endTimeout)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("%s ended with %d", p.name, code)
	}
	return nil
}

// Pause stops it in its tracks; Resume lets it go on.
func (p *process) Pause() error { return p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (p *process) Resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// Ended says how it ended, if it has without being asked to; nil: it runs.
func (p *process) Ended() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended by itself: %s", p.name, p.cmd.ProcessState)
	default:
		return nil
	}
}

// get asks a listener.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %d %s", url, resp.StatusCode, body)
	}
	return body, err
}

// until asks until the answer is nil.
func until(ctx context.Context, what string, ask func() error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("in vain for "+startTimeout.String()))
	defer cancel()
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w: %w", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
