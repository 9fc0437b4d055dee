// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chaos breaks a Pusher of three replicas and its broker while events are
// published and clients of all protocols listen, and then accounts for every event
// of every client: it was received once and in order, or the client was told
// that it cannot have it. Anything else fails the run.
//
// Everything runs as processes of this machine and ends with the program. It ends
// with 0 when all is well, with 1 when something is not, and with 2 when all is well
// and not everything could be run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/klaxon-dev/klaxon/test/chaos/account"
	"github.com/klaxon-dev/klaxon/test/chaos/clients"
)

// options are the command line.
type options struct {
	bin         string
	faults      []fault
	nodes       []int
	memory      bool
	subscribers int
	pause       time.Duration
	seed        uint64
	keep        bool
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := all(ctx, o)
	stop()
	os.Exit(code)
}

func parse(args []string) (*options, error) {
	o := &options{}
	var names, nodes string
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.StringVar(&o.bin, "bin", "bin", "directory of the programs broker and pusher")
	set.StringVar(&names, "fault", "all", "comma-separated faults, or all:\n"+describe())
	set.StringVar(&nodes, "nodes", "1,3", "comma-separated numbers of broker nodes; each fault is run with each")
	set.BoolVar(&o.memory, "memory", false, "the broker keeps events in memory: a node alone then loses all of them with its process, and clients must be told")
	set.IntVar(&o.subscribers, "subscribers", 10, "for each of four kinds of client and each of two channels")
	set.DurationVar(&o.pause, "pause", 4*time.Second, "how long all is well before the fault, and after it")
	set.Uint64Var(&o.seed, "seed", 0, "of what clients do at random; 0: another each time")
	set.BoolVar(&o.keep, "keep", false, "keep logs and stores of good runs, too")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q (see --help)", set.Arg(0))
	}
	for _, f := range faults {
		if names == "all" || slices.Contains(strings.Split(names, ","), f.name) {
			o.faults = append(o.faults, f)
		}
	}
	if names != "all" && len(o.faults) != len(strings.Split(names, ",")) {
		return nil, fmt.Errorf("--fault: %q names a fault that does not exist (see --help)", names)
	}
	for s := range strings.SplitSeq(nodes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n != 1 && n != 3 {
			return nil, fmt.Errorf("--nodes: %q is neither 1 nor 3", s)
		}
		o.nodes = append(o.nodes, n)
	}
	if o.subscribers < 1 || o.pause <= 0 {
		return nil, errors.New("--subscribers and --pause must be more than 0")
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	return o, nil
}

// all runs each fault, prints the tables and returns the exit code.
func all(ctx context.Context, o *options) (code int) {
	fmt.Printf("seed %d\n", o.seed)
	var rows []account.Row
	var kinds []account.Row // the same by kind of client
	for _, kind := range clients.Kinds {
		kinds = append(kinds, account.Row{Fault: "all, " + string(kind)})
	}
	for _, nodes := range o.nodes {
		for _, f := range o.faults {
			if f.trio && nodes == 1 {
				continue
			}
			row := account.Row{Fault: f.name, Nodes: nodes}
			if row.Skipped = f.skipped(); row.Skipped != "" {
				fmt.Printf("%s, %d nodes: NOT RUN: %s\n", f.name, nodes, row.Skipped)
				rows = append(rows, row)
				continue
			}
			r, err := one(ctx, o, f, nodes)
			if ctx.Err() != nil {
				fmt.Println("interrupted")
				return 1
			}
			if err != nil {
				fmt.Printf("%s, %d nodes: FAILED: %v\n", f.name, nodes, err)
				code = 1
			}
			row.Events, row.Waited = r.events, r.waited
			for i, v := range r.byKind {
				row.Verdict.Add(v)
				kinds[i].Events += r.events
				kinds[i].Verdict.Add(v)
			}
			rows = append(rows, row)
		}
	}
	fmt.Printf("\n%s", account.Table(append(rows, kinds...)))
	if code == 0 && slices.ContainsFunc(rows, func(r account.Row) bool { return r.Skipped != "" }) {
		fmt.Println("\nNot everything was run.")
		code = 2
	}
	return code
}

// one runs one fault in a directory of its own, which is kept when it fails.
func one(ctx context.Context, o *options, f fault, nodes int) (*run, error) {
	r := &run{options: o, fault: f, nodes: nodes}
	dir, err := os.MkdirTemp("", "klaxon-chaos-")
	if err != nil {
		return r, err
	}
	r.dir = dir
	err = r.run(ctx)
	if ctx.Err() != nil || err == nil && !o.keep {
		return r, errors.Join(err, os.RemoveAll(dir))
	}
	fmt.Printf("logs are in %s\n", filepath.Join(dir, "logs"))
	return r, err
}
