// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/events"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/load"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/mark"
	"github.com/klaxon-dev/klaxon/cmd/klaxon/bench/meter"
)

// watchEvery is how often Plan.Watch is called.
const watchEvery = 200 * time.Millisecond

// run is a plan that is being carried out.
type run struct {
	plan   Plan
	report *Report
	fleet  *load.Fleet
	pub    *events.Publisher // nil: none
	base   sample            // before anything was connected
	ready  int
}

// sample is what had been used up at a moment.
type sample struct {
	at      int64
	server  meter.Process
	machine meter.Machine
	clients time.Duration // CPU time, of the publisher too
}

// Run carries the plan out. The report is never nil: it has the steps that were
// done before an error. What went wrong at the server is no error; see Problems.
func Run(ctx context.Context, plan Plan) (*Report, error) {
	r := &run{plan: plan, report: &Report{Time: time.Now().UTC().Truncate(time.Second), Machine: ThisMachine()}}
	if plan.Publish != nil {
		pub, err := events.New(*plan.Publish)
		if err != nil {
			return r.report, err
		}
		r.pub = pub
	}
	fleet, err := load.Start(plan.Load, plan.Worker)
	if err != nil {
		return r.report, err
	}
	defer fleet.Close()
	r.fleet = fleet
	r.setup()
	// Their answer says that the workers have started, so that this is not
	// measured with connecting.
	if _, err := fleet.Begin(0); err != nil {
		return r.report, err
	}
	if r.base, err = r.sample(); err != nil {
		return r.report, err
	}
	if err := r.connect(ctx); err != nil {
		return r.report, err
	}
	for _, p := range plan.Phases {
		step, err := r.phase(ctx, p)
		if step != nil {
			r.done(step)
		}
		if err != nil {
			return r.report, err
		}
	}
	return r.report, nil
}

func (r *run) setup() {
	c := &r.plan.Load
	r.report.Setup = Setup{Connections: c.Connections, Channels: c.Channels, Rooms: c.Rooms, Processes: r.fleet.Processes()}
	if p := r.plan.Publish; p != nil {
		r.report.Setup.Size, r.report.Setup.Links, r.report.Setup.Mode = p.Size, r.pub.Links(), string(p.Mode)
	}
}

func (r *run) done(s *Step) {
	r.report.Steps = append(r.report.Steps, s)
	if r.plan.Done != nil {
		r.plan.Done(s)
	}
}

func (r *run) sample() (sample, error) {
	own, err := meter.ReadProcess(os.Getpid())
	if err != nil {
		return sample{}, err
	}
	s := sample{clients: own.CPU + r.fleet.CPU()}
	if r.plan.ServerPID != 0 {
		if s.server, err = meter.ReadProcess(r.plan.ServerPID); err != nil {
			return sample{}, fmt.Errorf("read what the server uses: %w", err)
		}
	}
	s.machine = meter.ReadMachine()
	s.at = mark.Now()
	return s, nil
}

// step makes the step from one sample until another, or until an earlier moment
// after which nothing happened.
func (r *run) step(name string, from, to sample, until int64) *Step {
	seconds := float64(until-from.at) / 1e9
	server, clients := to.server.CPU-from.server.CPU, to.clients-from.clients
	s := &Step{Name: name, Seconds: seconds}
	s.Clients.CPUPercent = 100 * clients.Seconds() / seconds
	other := (to.machine.Busy - from.machine.Busy - server - clients).Seconds()
	s.Clients.OtherCPUPercent = max(0, 100*other/seconds)
	if r.plan.ServerPID != 0 {
		s.Server = &Server{
			CPUSeconds: server.Seconds(), UserSeconds: (to.server.User - from.server.User).Seconds(),
			CPUPercent: 100 * server.Seconds() / seconds, RSS: to.server.RSS,
		}
	}
	return s
}

// watch tells how far a step has come until the returned function is called.
func (r *run) watch(name string, part func() float64) (stop func()) {
	if r.plan.Watch == nil {
		return func() {}
	}
	ended, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		ticker := time.NewTicker(watchEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
				r.plan.Watch(Progress{name, min(part(), 1), r.fleet.Live()})
			}
		}
	}()
	return func() { close(ended); <-over }
}

func (r *run) connect(ctx context.Context) error {
	// Workers are not interrupted by commands, but they end with the fleet.
	stop := context.AfterFunc(ctx, r.fleet.Interrupt)
	defer stop()
	total := float64(max(r.plan.Load.Connections, 1))
	over := r.watch("connect", func() float64 {
		live := r.fleet.Live()
		return float64(live.Ready+live.Failed) / total
	})
	c, err := r.fleet.Connect()
	over()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	to, err := r.sample()
	if err != nil {
		return err
	}
	s := r.step("connect", r.base, to, to.at)
	s.Seconds = float64(c.Ended-c.Began) / 1e9
	s.Connect = &Connect{Ready: c.Ready, Failed: c.Failed, Latency: latency(&c.Latency), Failures: c.Failures}
	if s.Seconds > 0 {
		s.Connect.PerSecond = float64(c.Ready) / s.Seconds
	}
	if s.Server != nil && c.Ready > 0 {
		s.Server.CPUPerHandshake = s.Server.CPUSeconds * 1e6 / float64(c.Ready)
	}
	r.ready = c.Ready
	r.done(s)
	if c.Ready == 0 && r.plan.Load.Connections > 0 {
		return errors.New("no connection became ready")
	}
	return nil
}

// phase carries a phase out. The step may be there although there is an error.
func (r *run) phase(ctx context.Context, p Phase) (*Step, error) {
	if p.Kind == Idle {
		return r.idle(ctx, p)
	}
	if r.pub == nil {
		return nil, fmt.Errorf("%s: there is nowhere to publish", p)
	}
	return r.traffic(ctx, p)
}

func (r *run) idle(ctx context.Context, p Phase) (*Step, error) {
	from, err := r.sample()
	if err != nil {
		return nil, err
	}
	stop := r.watch(p.String(), func() float64 { return float64(mark.Now()-from.at) / float64(p.For) })
	defer stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(p.For):
	}
	to, err := r.sample()
	if err != nil {
		return nil, err
	}
	s := r.step(p.String(), from, to, to.at)
	if n := float64(r.ready); s.Server != nil && n > 0 {
		s.Server.RSSPerConnection = float64(to.server.RSS-r.base.server.RSS) / n
		s.Server.KernelPerConnection = float64(to.machine.Kernel-r.base.machine.Kernel) / n
	}
	return s, nil
}
