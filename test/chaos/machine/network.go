// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// network is the network of one replica, joined to ours by two links:
//
//	front  clients, publishers and other replicas; never cut
//	back   the broker
//
// The broker's address is on our end of front, where it is out of the way of what is
// done to back, and the replica's route to it goes over back. Our end of back is
// what is cut: the replica's end then is a cable that leads nowhere.
//
// The network lives as long as the process that holds it; links and routes go with
// it. Addresses are of the range for measurements between networks (RFC 2544).
type network struct {
	holder      *exec.Cmd
	front, back string // our ends
	prefix      string // of all addresses, with the last point
}

// Last bytes of addresses.
const (
	frontOurs   = "1"
	frontTheirs = "2"
	frontNobody = "5"
	backOurs    = "9"
	backTheirs  = "10"
	brokerOurs  = "13"
)

// Possible says why no replica can have a network of its own; nil: it can.
func Possible() error {
	if os.Getuid() != 0 {
		return fmt.Errorf("only root can make networks")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	return nil
}

// openNetwork makes the network.
func openNetwork(ctx context.Context) (*network, error) {
	id := strconv.Itoa(os.Getpid())
	n := &network{
		front: "kxf" + id, back: "kxb" + id, prefix: fmt.Sprintf("198.18.%d.", os.Getpid()%256),
		holder: exec.Command("sleep", "infinity"),
	}
	n.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := fork(n.holder); err != nil {
		return nil, fmt.Errorf("make a network: %w", err)
	}
	theirs := strconv.Itoa(n.holder.Process.Pid)
	for _, command := range []string{
		"link add " + n.front + " type veth peer name front netns " + theirs,
		"link add " + n.back + " type veth peer name back netns " + theirs,
		"addr add " + n.prefix + frontOurs + "/29 dev " + n.front,
		"addr add " + n.prefix + brokerOurs + "/32 dev " + n.front,
		"addr add " + n.prefix + backOurs + "/30 dev " + n.back,
		"link set " + n.front + " up",
		"link set " + n.back + " up",
		// What is for the other end of back while it is cut goes nowhere either.
		"route add " + n.prefix + "8/30 via " + n.prefix + frontNobody + " dev " + n.front + " metric 4000",
		"-n link set lo up",
		"-n addr add " + n.prefix + frontTheirs + "/29 dev front",
		"-n addr add " + n.prefix + backTheirs + "/30 dev back",
		"-n link set front up",
		"-n link set back up",
		"-n route add " + n.prefix + brokerOurs + "/32 via " + n.prefix + backOurs + " dev back",
	} {
		if err := n.ip(ctx, command); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

// ip runs a command of ip, in the other network if it begins with -n.
func (n *network) ip(ctx context.Context, command string) error {
	args := []string{"ip"}
	inside, is := strings.CutPrefix(command, "-n ")
	if is {
		args = n.inside("ip")
	}
	args = append(args, strings.Fields(inside)...)
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", command, err, out)
	}
	return nil
}

// inside is a command that is run in the other network. It becomes its program.
func (n *network) inside(args ...string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(n.holder.Process.Pid), "-n", "--"}, args...)
}

// set cuts the link to the broker ("down"), or mends it ("up").
func (n *network) set(ctx context.Context, state string) error {
	return n.ip(ctx, "link set "+n.back+" "+state)
}

// theirs is an address of the other network; nothing else there has a port.
func (n *network) theirs(port int) string {
	return net.JoinHostPort(n.prefix+frontTheirs, strconv.Itoa(port))
}

// close ends the network and what is in it. The links would go by themselves, but
// not at once.
func (n *network) close() {
	for _, link := range []string{n.front, n.back} {
		_ = n.ip(context.Background(), "link del "+link) // it may not be there
	}
	_ = n.holder.Process.Kill()
	_ = n.holder.Wait() // killed is what it is
}
