// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Command klaxon is the command line for people: it serves Channels on this
// machine, checks manifests, publishes and listens. Installed as kubectl-klaxon
// it is `kubectl klaxon`.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
)

// version is set by the linker.
var version = "dev"

// command is one of klaxon's commands.
type command struct {
	run  func(args []string) error
	does string
}

var commands = map[string]command{
	"bench":     {benchmark, "measure a push server"},
	"serve":     {serve, "serve Channels from manifests on this machine"},
	"validate":  {validate, "check manifests"},
	"handle":    {handle, "be a handler: print what clients do, and answer"},
	"publish":   {publish, "publish an event, or a stream of them"},
	"subscribe": {subscribe, "print what a channel says"},
	"version":   {printVersion, "print the version"},
}

func main() {
	if len(os.Args) < 2 {
		usage(os.Stderr)
		os.Exit(2)
	}
	name := os.Args[1]
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, name) {
		usage(os.Stdout)
		return
	}
	c, ok := commands[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "klaxon: there is no command %q\n\n", name)
		usage(os.Stderr)
		os.Exit(2)
	}
	if err := c.run(os.Args[2:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "klaxon %s: %v\n", name, err)
		os.Exit(1)
	}
}

func usage(w io.Writer) {
	_, _ = fmt.Fprintf(w, "usage: klaxon COMMAND ... (klaxon COMMAND -h says more)\n\n")
	names := make([]string, 0, len(commands))
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		_, _ = fmt.Fprintf(w, "  %-10s %s\n", name, commands[name].does)
	}
}

func printVersion([]string) error {
	fmt.Println(version)
	return nil
}
