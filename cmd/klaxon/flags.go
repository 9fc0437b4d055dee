// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

// list is a flag that can be given several times.
type list []string

// String shows the values.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set adds a value.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

// parse reads flags before, between and after the other arguments, which it
// returns.
func parse(flags *flag.FlagSet, args []string) ([]string, error) {
	var others []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return others, nil
		}
		others = append(others, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

// tokenSource is where a command's token comes from: nowhere, a file, or the
// environment. Never the command line, which everybody on a machine can see.
type tokenSource struct {
	file, env string
}

// register registers the flags, each name with the prefix before it.
func (t *tokenSource) register(flags *flag.FlagSet, prefix string) {
	flags.StringVar(&t.file, prefix+"token-file", "", "file with the token, for example a projected ServiceAccount token")
	flags.StringVar(&t.env, prefix+"token-env", "", "environment variable with the token")
}

func (t *tokenSource) read() (string, error) {
	switch {
	case t.file != "" && t.env != "":
		return "", errors.New("use one of --token-file and --token-env")
	case t.file != "":
		b, err := os.ReadFile(t.file)
		return strings.TrimSpace(string(b)), err
	case t.env != "":
		token := strings.TrimSpace(os.Getenv(t.env))
		if token == "" {
			return "", fmt.Errorf("the environment variable %s is empty", t.env)
		}
		return token, nil
	}
	return "", nil
}
