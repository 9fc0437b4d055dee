// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// node-tool: the small helpers that the cluster scripts need, standard library only.
package main

import (
	"fmt"
	"os"
)

func main() {
	cmds := map[string]func([]string) error{"pki": pki, "forward": forward, "wait": wait, "pvmode": pvmode}
	if len(os.Args) < 2 || cmds[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: node-tool pki|forward|wait|pvmode ...")
		os.Exit(2)
	}
	if err := cmds[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "node-tool "+os.Args[1]+":", err)
		os.Exit(1)
	}
}
