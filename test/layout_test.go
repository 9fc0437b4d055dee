// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Package test holds the project's layout as a test: who may import whom, and
// why not. Each package has a row; a new package needs one.
package test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/klaxon-dev/klaxon"

// imports lists, for each package of the project, the packages of the project
// that it may import. `cmd → controllers → {compile, render} → {api, settings}` and
// `cmd → pusher → {events, broker, hub, loop, auth}; {hub, loop} → wire`. Packages
// below test/ may import what they test, and nothing may import them.
var imports = map[string][]string{
	"api/v1alpha1": {}, // what a user may say depends on nothing that we do with it
	"config/crd":   {},

	"config/samples/handlers/go": {}, // a backend has nothing of ours

	"cmd/broker":        {"cmd/broker/node"},
	"cmd/broker/node":   {"cmd/broker/status"},
	"cmd/broker/status": {}, // for whoever rolls nodes, who must not link a server for it
	"cmd/operator":      {"api/v1alpha1", "controllers"},
	"cmd/pusher":        {"pusher", "pusher/broker/jetstream", "pusher/peers", "pusher/roster", "pusher/settings"},
	"cmd/klaxon":        {"cmd/klaxon/bench", "cmd/klaxon/bench/events", "cmd/klaxon/bench/load", "cmd/klaxon/bench/mark", "cmd/klaxon/bench/template", "cmd/klaxon/client", "controllers/jwks", "controllers/manifests", "pusher", "pusher/settings"},
	"cmd/klaxon/client": {"pusher/wire", "pusher/wire/plain"}, // a client knows the protocol, not the server

	// Nothing of the server is shared with what measures it, other servers too.
	"cmd/klaxon/bench":          {"cmd/klaxon/bench/events", "cmd/klaxon/bench/hist", "cmd/klaxon/bench/load", "cmd/klaxon/bench/mark", "cmd/klaxon/bench/meter"},
	"cmd/klaxon/bench/events":   {"cmd/klaxon/bench/hist", "cmd/klaxon/bench/mark", "cmd/klaxon/bench/template"},
	"cmd/klaxon/bench/hist":     {},
	"cmd/klaxon/bench/load":     {"cmd/klaxon/bench/hist", "cmd/klaxon/bench/mark", "cmd/klaxon/bench/meter", "cmd/klaxon/bench/template"},
	"cmd/klaxon/bench/mark":     {},
	"cmd/klaxon/bench/meter":    {},
	"cmd/klaxon/bench/template": {},

	"controllers":           {"api/v1alpha1", "cmd/broker/status", "controllers/compile", "controllers/jwks", "controllers/keys", "controllers/render", "pusher/settings"},
	"controllers/compile":   {"api/v1alpha1", "pusher/settings", "pusher/settings/keyset", "pusher/settings/rules"},
	"controllers/jwks":      {"pusher/settings/keyset", "pusher/settings/reach"},
	"controllers/keys":      {},
	"controllers/render":    {"api/v1alpha1", "controllers/compile", "pusher/settings"},
	"controllers/manifests": {"api/v1alpha1", "config/crd", "controllers/compile", "pusher/settings"},

	// Siblings below pusher/ share only wire, settings, slab and epoll, so that each can be
	// read, tested and replaced alone; pusher joins them.
	"pusher":                   {"pusher/acceptor", "pusher/auth", "pusher/broker", "pusher/events", "pusher/handlers", "pusher/hub", "pusher/loop", "pusher/presence", "pusher/settings", "pusher/settings/rules", "pusher/slab", "pusher/wire", "pusher/wire/deflate", "pusher/wire/engineio", "pusher/wire/frames", "pusher/wire/plain", "pusher/wire/socketio", "pusher/wire/sse", "pusher/wire/upgrade"},
	"pusher/acceptor":          {"pusher/epoll", "pusher/wire/upgrade"},
	"pusher/auth":              {"pusher/settings", "pusher/settings/keyset", "pusher/settings/rules", "pusher/wire"},
	"pusher/broker":            {"pusher/settings", "pusher/wire"},
	"pusher/broker/brokertest": {"pusher/broker", "pusher/settings", "pusher/wire"},
	"pusher/broker/jetstream":  {"pusher/broker", "pusher/settings", "pusher/wire"},
	"pusher/epoll":             {},
	"pusher/events":            {"pusher/settings", "pusher/wire"},
	"pusher/handlers":          {"pusher/settings", "pusher/settings/reach", "pusher/wire"},
	"pusher/hub":               {"pusher/settings", "pusher/slab", "pusher/wire"},
	"pusher/loop":              {"pusher/epoll", "pusher/settings", "pusher/slab", "pusher/wire", "pusher/wire/deflate", "pusher/wire/frames", "pusher/wire/plain"},
	"pusher/peers":             {},
	"pusher/presence":          {"pusher/wire"},
	"pusher/roster":            {},
	"pusher/slab":              {},
	"pusher/settings":          {}, // the contract of the two planes belongs to neither
	"pusher/settings/keyset":   {},
	"pusher/settings/reach":    {},
	"pusher/settings/rules":    {},
	"pusher/wire":              {},
	"pusher/wire/deflate":      {"pusher/wire", "pusher/wire/frames"},
	"pusher/wire/engineio":     {},
	"pusher/wire/frames":       {"pusher/wire"},
	"pusher/wire/plain":        {"pusher/wire", "pusher/wire/frames"},
	"pusher/wire/sse":          {"pusher/wire"},
	"pusher/wire/socketio":     {"pusher/wire", "pusher/wire/engineio", "pusher/wire/frames"},
	"pusher/wire/upgrade":      {},
}

// ban forbids packages to those below in. A name that ends in / stands for all
// that is below it, other names for that package alone.
type ban struct {
	in      string
	names   []string
	through bool // also through what they import
	why     string
}

var bans = []ban{
	{
		in: "pusher", through: true,
		names: []string{"k8s.io/", "sigs.k8s.io/", module + "/api/", module + "/controllers", module + "/controllers/"},
		why:   "the push server faces the internet and must not hold even the means to talk to the Kubernetes API",
	},
	{
		in: "cmd/pusher", through: true,
		names: []string{"k8s.io/", "sigs.k8s.io/", "github.com/go-logr/"},
		why:   "one Pusher per Channel must be no waste: idle memory follows what is linked",
	},
	{
		in: "cmd/broker", through: true,
		names: []string{"k8s.io/", "sigs.k8s.io/", module + "/api/", module + "/controllers", module + "/controllers/", module + "/pusher", module + "/pusher/"},
		why:   "the broker carries bytes: what Channels and pods are is for those on both sides of it",
	},
	{
		in: "cmd/broker/status", through: true, names: []string{"github.com/", "net/http"},
		why: "the operator reads what a node says and must not link nats-server for it",
	},
	{
		in: "cmd/operator", through: true, names: []string{"github.com/nats-io/nats-server/"},
		why: "the server runs in pods of its own",
	},
	{
		in: "cmd/pusher", through: true, names: []string{"github.com/nats-io/nats-server/"},
		why: "one Pusher per Channel must be no waste: it links the client, not the server",
	},
	{
		in: "pusher/wire", names: []string{"net", "net/http", "os", "syscall", "golang.org/x/sys/", "context", "sync", "log/slog"},
		why: "protocols are bytes and ticks in, actions out, so that transcripts and fuzzing cover them",
	},
	{
		in: "pusher/hub", names: []string{"net", "net/http", "os", "syscall", "golang.org/x/sys/"},
		why: "who is in which room has nothing to do with sockets, and is tested without any",
	},
	{
		in: "pusher/auth", names: []string{"net/http", "os"},
		why: "keys come with the settings: a push server that fetches them can be aimed at others",
	},
	{
		in: "pusher/loop", names: []string{"net/http", "context"},
		why: "a loop must never wait for anything but its sockets",
	},
	{
		in: "test/chaos/clients",
		names: []string{
			module + "/cmd/", module + "/pusher", module + "/pusher/hub", module + "/pusher/loop", module + "/pusher/wire/engineio",
			module + "/pusher/wire/frames", module + "/pusher/wire/plain", module + "/pusher/wire/socketio", module + "/pusher/wire/sse",
		},
		why: "who judges the server must have read the protocols' pages, not the server",
	},
	{
		in: "controllers/compile", names: []string{"context", "os", "net", "net/http", "sigs.k8s.io/controller-runtime/", "k8s.io/client-go/"},
		why: "compiling is one pure function, the same in the operator and on a laptop",
	},
	{
		in: "controllers/render", names: []string{"context", "os", "net", "net/http", "sigs.k8s.io/controller-runtime/", "k8s.io/client-go/kubernetes/", "k8s.io/client-go/rest"},
		why: "rendering is pure, so that its goldens are all there is to know",
	},
	{
		in: "cmd/klaxon", through: true, names: []string{"sigs.k8s.io/controller-runtime/", "k8s.io/client-go/"},
		why: "klaxon serve is the product without a cluster; kubectl talks to clusters",
	},
	{
		in: "api", through: true, names: []string{"sigs.k8s.io/controller-runtime/", "k8s.io/client-go/"},
		why: "others import the types and must not get our client with them",
	},
	{
		in: "cmd/operator", through: true, names: []string{module + "/pusher", module + "/pusher/loop", module + "/pusher/hub", module + "/pusher/events", module + "/pusher/broker"},
		why: "the planes meet in pusher/settings only",
	},
}

// pusherModules are all third-party modules that the push server links. One
// more is a decision about what faces the internet, not a detail.
var pusherModules = []string{
	"cel.dev/expr",                  // through cel-go, as the next one
	"github.com/antlr4-go/antlr/v4", // its parser
	"github.com/beorn7/perks",       // through client_golang, as the next ones
	"github.com/cespare/xxhash/v2",
	"github.com/go-jose/go-jose/v4", // tokens
	"github.com/gobwas/httphead",    // through ws
	"github.com/gobwas/ws",          // handshake
	"github.com/google/cel-go",      // rules
	"github.com/klauspost/compress", // through nats.go, for its WebSockets
	"github.com/munnerz/goautoneg",
	"github.com/nats-io/nats.go", // between replicas
	"github.com/nats-io/nkeys",
	"github.com/nats-io/nuid",
	"github.com/prometheus/client_golang", // metrics
	"github.com/prometheus/client_model",
	"github.com/prometheus/common",
	"github.com/prometheus/procfs",
	"go.yaml.in/yaml/v3",                        // through cel-go
	"golang.org/x/crypto",                       // through nkeys
	"golang.org/x/exp",                          // through antlr
	"golang.org/x/sys",                          // epoll
	"google.golang.org/genproto/googleapis/api", // through cel-go, as the next one
	"google.golang.org/genproto/googleapis/rpc",
	"google.golang.org/protobuf",
}

// pure packages have no clock, no goroutine, no randomness: what they return
// follows from what they are given.
var pure = []string{"pusher/wire", "pusher/wire/deflate", "pusher/wire/engineio", "pusher/wire/frames", "pusher/wire/plain", "pusher/wire/sse", "pusher/wire/socketio", "pusher/wire/upgrade", "controllers/compile", "controllers/render", "test/chaos/account"}

// goPackage is what `go list` says of a package.
type goPackage struct {
	ImportPath string
	Dir        string
	Imports    []string
	GoFiles    []string
	Module     *struct {
		Path string
		Main bool
	}
}

// load lists the project's packages and all that they import.
func load(t *testing.T) map[string]*goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Imports,GoFiles,Module", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %s", exit.Stderr)
		}
		t.Fatal(err)
	}
	all := map[string]*goPackage{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := &goPackage{}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// inside returns the path of a package within the project.
func inside(path string) (string, bool) {
	return strings.CutPrefix(path, module+"/")
}

func TestImports(t *testing.T) {
	all := load(t)
	for path, p := range all {
		name, ours := inside(path)
		if !ours || name == "test" || strings.HasPrefix(name, "test/") {
			continue
		}
		may, listed := imports[name]
		if !listed {
			t.Errorf("%s has no row in the table of imports: add one", name)
		}
		for _, i := range p.Imports {
			if other, ours := inside(i); ours && listed && !slices.Contains(may, other) {
				t.Errorf("%s must not import %s; it may import %v", name, other, may)
			}
		}
	}
	for name := range imports {
		if all[module+"/"+name] == nil {
			t.Errorf("the table of imports has a row for %s, which does not exist", name)
		}
	}
}

func TestBans(t *testing.T) {
	all := load(t)
	for _, b := range bans {
		for path := range all {
			name, ours := inside(path)
			if !ours || name != b.in && !strings.HasPrefix(name, b.in+"/") {
				continue
			}
			for _, chain := range b.broken(all, path) {
				t.Errorf("%s\n\tbecause %s", strings.Join(chain, "\n\timports "), b.why)
			}
		}
	}
}

// broken returns the chains of imports by which a package breaks the ban.
func (b ban) broken(all map[string]*goPackage, path string) [][]string {
	var bad [][]string
	seen := map[string]bool{path: true}
	for queue := [][]string{{path}}; len(queue) > 0; queue = queue[1:] {
		chain := queue[0]
		for _, i := range all[chain[len(chain)-1]].Imports {
			if seen[i] || all[i] == nil {
				continue
			}
			seen[i] = true
			next := append(slices.Clone(chain), i)
			if b.covers(i) {
				bad = append(bad, next)
			} else if b.through {
				queue = append(queue, next)
			}
		}
	}
	return bad
}

func (b ban) covers(path string) bool {
	return slices.ContainsFunc(b.names, func(n string) bool {
		return path == n || path == strings.TrimSuffix(n, "/") || strings.HasSuffix(n, "/") && strings.HasPrefix(path, n)
	})
}

func TestPusherModules(t *testing.T) {
	all := load(t)
	got := map[string]bool{}
	seen := map[string]bool{}
	var walk func(path string)
	walk = func(path string) {
		p := all[path]
		if p == nil || seen[path] {
			return
		}
		seen[path] = true
		if p.Module != nil && !p.Module.Main {
			got[p.Module.Path] = true
		}
		for _, i := range p.Imports {
			walk(i)
		}
	}
	walk(module + "/cmd/pusher")
	for m := range got {
		if !slices.Contains(pusherModules, m) {
			t.Errorf("cmd/pusher links %s, which is not in its list", m)
		}
	}
	for _, m := range pusherModules {
		if !got[m] {
			t.Errorf("cmd/pusher no longer links %s: take it off the list", m)
		}
	}
}

func TestPure(t *testing.T) {
	clock := []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Sleep"}
	all := load(t)
	for _, name := range pure {
		p := all[module+"/"+name]
		if p == nil {
			t.Errorf("%s does not exist", name)
			continue
		}
		for _, i := range []string{"math/rand", "math/rand/v2", "crypto/rand"} {
			if slices.Contains(p.Imports, i) {
				t.Errorf("%s must be pure: it imports %s", name, i)
			}
		}
		for _, f := range p.GoFiles {
			files := token.NewFileSet()
			tree, err := parser.ParseFile(files, filepath.Join(p.Dir, f), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.GoStmt:
					t.Errorf("%s: a pure package starts a goroutine", files.Position(n.Pos()))
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clock, n.Sel.Name) {
						t.Errorf("%s: a pure package asks the clock", files.Position(n.Pos()))
					}
				}
				return true
			})
		}
	}
}
