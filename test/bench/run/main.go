// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Run compares push servers: it starts each on a processor of its own, measures it
// with klaxon bench from another one, and prints a table of medians and of how many
// times the floor's they are.
//
// Servers take turns within each scenario, round by round, each time as a new
// process: so what else happens on the machine and what came before hits all alike.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is what the flags say.
type config struct {
	bin       string // where the programs are
	peers     string // where the peers are that are not compiled
	serverCPU string
	clientCPU string
	port      int // and the two after it
	rounds    int
	long      time.Duration // of a phase
	keep      string        // where klaxon bench's reports go
}

func main() {
	runtime.LockOSThread() // servers end with the thread that started them
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var c config
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&c.bin, "bin", "bin", "folder of klaxon, pusher and bench/")
	flags.StringVar(&c.peers, "peers", "test/bench/peers", "folder of the peers")
	names := flags.String("servers", "floor,klaxon", "servers, what the others are compared with first, of: "+strings.Join(serverNames(), ", "))
	only := flags.String("scenarios", "", "scenarios, all when empty, of: "+strings.Join(scenarioNames(), ", "))
	flags.StringVar(&c.serverCPU, "server-cpu", "0", "processor of the server")
	flags.StringVar(&c.clientCPU, "client-cpu", "1", "processor of the clients")
	flags.IntVar(&c.port, "port", 19200, "first of three ports for the server")
	flags.IntVar(&c.rounds, "rounds", 3, "how often everything is measured")
	flags.DurationVar(&c.long, "time", time.Second, "how long a phase takes")
	flags.StringVar(&c.keep, "keep", "", "folder for all reports; a temporary one when empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if runtime.NumCPU() < 2 {
		return errors.New("this takes two processors, one for the server and one for the clients")
	}
	if c.keep == "" {
		dir, err := os.MkdirTemp("", "klaxon-bench-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		c.keep = dir
	} else if err := os.MkdirAll(c.keep, 0o755); err != nil {
		return err
	}
	servers, err := pickServers(*names)
	if err != nil {
		return err
	}
	scenarios := allScenarios
	if *only != "" {
		if scenarios, err = pick(strings.Split(*only, ","), allScenarios, func(s scenario) string { return s.name }); err != nil {
			return err
		}
	}
	if err := errors.Join(writeSettings(c.settings()), writeTokens(filepath.Join(c.keep, "tokens"))); err != nil {
		return err
	}
	t := newTable(servers)
	for round := range c.rounds {
		for i := range scenarios {
			for _, s := range servers {
				c.measure(t, s, &scenarios[i], round)
			}
		}
	}
	fmt.Print(t.markdown(scenarios, c.rounds))
	return nil
}

// pick returns those of all that have the names, in the names' order.
func pick[T any](names []string, all []T, name func(T) string) ([]T, error) {
	var picked []T
	for _, n := range names {
		i := slices.IndexFunc(all, func(v T) bool { return name(v) == n })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q", n)
		}
		picked = append(picked, all[i])
	}
	return picked, nil
}

// settings is where the settings of Klaxon's push server are written.
func (c *config) settings() string { return filepath.Join(c.keep, "settings.json") }

// measure starts a server, measures it once and adds what was found to the table.
func (c *config) measure(t *table, s server, sc *scenario, round int) {
	file := filepath.Join(c.keep, fmt.Sprintf("%s-%s-%d.json", sc.name, s.name, round+1))
	fmt.Fprintf(os.Stderr, "round %d: %s, %s\n", round+1, sc.name, s.name)
	process, err := c.start(s, sc)
	if err != nil {
		t.note(s, sc, err.Error())
		return
	}
	defer stop(process)
	args := []string{"-c", c.clientCPU, filepath.Join(c.bin, "klaxon"), "bench", "--json", file, "--server-pid", strconv.Itoa(process.Process.Pid)}
	args = append(args, s.flags(c.port)...)
	args = append(args, c.flagsOf(s, sc)...)
	var said strings.Builder
	bench := exec.Command("taskset", args...)
	bench.Stderr = &said
	if err := bench.Run(); err != nil {
		t.note(s, sc, strings.TrimSpace(said.String()))
	}
	r, err := readReport(file)
	if err != nil {
		t.note(s, sc, err.Error())
		return
	}
	t.add(s, sc, r)
}

// flagsOf are the scenario's flags for klaxon bench.
func (c *config) flagsOf(s server, sc *scenario) []string {
	flags := sc.flags + " " + sc.foreign
	if s.klaxon {
		flags = sc.flags + " " + sc.own
	}
	return strings.Fields(strings.NewReplacer("TIME", c.long.String(), "PORT", strconv.Itoa(c.port), "KEPT", c.keep).Replace(flags))
}
