// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a push server to measure.
type server struct {
	name string
	// command starts it on a port and, if it needs them, the two after it.
	command func(c *config, sc *scenario) []string
	// flags tell klaxon bench how to talk to it.
	flags func(port int) []string
	// also is a second port that it listens on, counted from the first one.
	also int
	// klaxon: it is Klaxon's, or another build of it.
	klaxon bool
}

// likeKlaxon is a body that is as long as the messages of Klaxon's protocol, so
// that servers that pass it on as it is send as many bytes.
const likeKlaxon = `{"type":"event","event":"bench","id":"IVX5QZQQ2ZEWDUVXDJZDCL2ZDA","offset":"esqfh5g5.123456","data":"{data}"}`

var allServers = []server{
	{
		name: "floor", also: 1,
		command: func(c *config, sc *scenario) []string {
			mode := "raw"
			if sc.coalesce {
				mode = "coalesce"
			}
			return []string{filepath.Join(c.bin, "bench/floor"), "-port", strconv.Itoa(c.port), "-mode", mode}
		},
		flags: func(port int) []string {
			return []string{"--url", at("ws", port, "/ws/{ch}"), "--publish-url", at("http", port+1, "/pub/{ch}"), "--ready", "", "--body", likeKlaxon}
		},
	},
	klaxon("klaxon", ""),
	{
		name: "gorilla",
		command: func(c *config, _ *scenario) []string {
			return []string{filepath.Join(c.bin, "bench/gorilla"), "-addr", at("", c.port, "")}
		},
		flags: func(port int) []string {
			return []string{"--url", at("ws", port, "/ws/{ch}"), "--publish-url", at("http", port, "/pub/{ch}"), "--ready", "", "--body", likeKlaxon}
		},
	},
	{
		name: "socketio",
		command: func(c *config, _ *scenario) []string {
			return []string{"node", filepath.Join(c.peers, "socketio/server.js"), strconv.Itoa(c.port)}
		},
		flags: func(port int) []string {
			return []string{
				"--url", at("ws", port, "/socket.io/?EIO=4&transport=websocket"), "--first", `40{"ch":"{ch}"}`, "--ready", `40{"sid"`,
				"--ping", "2", "--pong", "3", "--publish-url", at("http", port, "/pub/{ch}"), "--body", "{data}",
			}
		},
	},
}

// klaxon is the push server, built as another program when there is a path.
func klaxon(name, program string) server {
	return server{
		name: name, also: 1, klaxon: true,
		command: func(c *config, _ *scenario) []string {
			return []string{
				cmp.Or(program, filepath.Join(c.bin, "pusher")), "--settings", c.settings(), "--log-level", "error", "--loops", "1",
				"--clients-addr", at("", c.port, ""), "--events-addr", at("", c.port+1, ""), "--admin-addr", at("", c.port+2, ""),
			}
		},
		flags: func(port int) []string {
			return []string{"--url", at("ws", port, "/ws/c{ch}"), "--publish-url", at("http", port+1, "/v1/channels/c{ch}/events")}
		},
	}
}

func serverNames() []string {
	var names []string
	for _, s := range allServers {
		names = append(names, s.name)
	}
	return append(names, "NAME=PROGRAM for another build of klaxon's pusher")
}

// pickServers returns the servers of the names.
func pickServers(names string) ([]server, error) {
	all := slices.Clone(allServers)
	list := strings.Split(names, ",")
	for i, n := range list {
		if name, program, ok := strings.Cut(n, "="); ok {
			list[i] = name
			all = append(all, klaxon(name, program))
		}
	}
	return pick(list, all, func(s server) string { return s.name })
}

// at is an address of this machine, with a scheme and a path unless they are empty.
func at(scheme string, port int, path string) string {
	if scheme != "" {
		scheme += "://"
	}
	return fmt.Sprintf("%s127.0.0.1:%d%s", scheme, port, path)
}

// start starts a server and waits until it listens.
func (c *config) start(s server, sc *scenario) (*exec.Cmd, error) {
	cmd := exec.Command("taskset", append([]string{"-c", c.serverCPU}, s.command(c, sc)...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	for _, port := range slices.Compact([]int{c.port, c.port + s.also}) {
		if err := await(port); err != nil {
			stop(cmd)
			return nil, fmt.Errorf("start %s: %w", s.name, err)
		}
	}
	return cmd, nil
}

// await waits until something listens on a port.
func await(port int) error {
	const patience, pause = 10 * time.Second, 20 * time.Millisecond
	for range patience / pause {
		if conn, err := net.Dial("tcp", at("", port, "")); err == nil {
			return conn.Close()
		}
		time.Sleep(pause)
	}
	return fmt.Errorf("nothing listens on port %d", port)
}

// stop ends a server; one that does not hurry is killed.
func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(3*time.Second, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // a signal is how it should end
	kill.Stop()
}
