// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
)

// Kind is what a rule decides about.
type Kind string

// The kinds of rules.
const (
	Connect Kind = "connect"
	Join    Kind = "join"
	Emit    Kind = "emit"
	Publish Kind = "publish"
)

const (
	// MaxBytes is the largest rule.
	MaxBytes = 2048
	// maxCost bounds an evaluation, in CEL's units: two milliseconds or less. Loops wait for it.
	maxCost = 5_000
	// maxNesting bounds an expression's depth.
	maxNesting = 64
	// maxProblems is how much is said of an expression that is wrong.
	maxProblems = 3
	// remembered is how many rules are kept compiled for whoever asks again: settings are
	// compiled as a whole for each change of one Channel. Two generations of as many.
	remembered = 4096
)

// The variables that rules can use.
const (
	// Claims of the token, as JSON has them; whole numbers are ints. Empty for
	// anonymous clients.
	Claims = "claims"
	// User is the token's subject, or who a handler says that it is; "" for anonymous clients.
	User = "user"
	// Remote is the address that the connection comes from, without its port.
	Remote = "remote"
	// Headers are some of the handshake's, names in lower case.
	Headers = "headers"
	// Room that is joined, or published to; "" for the channel.
	Room = "room"
	// Rooms that the client is in.
	Rooms = "rooms"
	// Event that is emitted or published.
	Event = "event"
)

// Publication is what a rule about publishing decides about.
type Publication struct {
	Event, Room string
	Rooms       []string
}

var variables = map[Kind][]string{
	Connect: {Claims, User, Remote, Headers},
	Join:    {Claims, User, Room},
	Emit:    {Claims, User, Event},
	Publish: {Claims, User, Event, Room, Rooms},
}

var variableTypes = map[string]*cel.Type{
	Claims:  cel.MapType(cel.StringType, cel.DynType),
	Headers: cel.MapType(cel.StringType, cel.StringType),
	Rooms:   cel.ListType(cel.StringType),
}

// Rule is a compiled expression. It can be used by several goroutines.
type Rule struct {
	program cel.Program
	uses    []string
}

// Uses reports whether the expression mentions a variable.
func (r *Rule) Uses(variable string) bool { return slices.Contains(r.uses, variable) }

var errNotBool = errors.New("the rule is not true or false here")

// Allows evaluates the rule. With an error, which says why it could not be evaluated,
// nothing is allowed.
func (r *Rule) Allows(vars map[string]any) (bool, error) {
	out, _, err := r.program.Eval(vars)
	if err != nil {
		return false, fmt.Errorf("rules: %w", err)
	}
	if out != types.True && out != types.False {
		return false, errNotBool
	}
	return out == types.True, nil
}

// Parse compiles a rule. The error says what is wrong with it and where.
func Parse(kind Kind, source string) (*Rule, error) {
	return compiled.get(key{kind, source}, func() (*Rule, error) { return compile(kind, source) })
}

func compile(kind Kind, source string) (*Rule, error) {
	if len(source) > MaxBytes {
		return nil, fmt.Errorf("has more than %d bytes", MaxBytes)
	}
	env, err := environments(kind)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		var all []string
		for _, e := range issues.Errors()[:min(maxProblems, len(issues.Errors()))] {
			all = append(all, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, e.Message))
		}
		return nil, errors.New(strings.Join(all, "; "))
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("line 1, column 1: is of type %s, it must be true or false", t)
	}
	program, err := env.Program(checked, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("line 1, column 1: %w", err)
	}
	r := &Rule{program: program}
	for _, ref := range checked.NativeRep().ReferenceMap() {
		if slices.Contains(variables[kind], ref.Name) && !r.Uses(ref.Name) {
			r.uses = append(r.uses, ref.Name)
		}
	}
	return r, nil
}

// environments are made when they are asked for: most push servers need none.
var environments = func() func(Kind) (*cel.Env, error) {
	var mu sync.Mutex
	made := map[Kind]*cel.Env{}
	return func(kind Kind) (*cel.Env, error) {
		mu.Lock()
		defer mu.Unlock()
		if made[kind] != nil {
			return made[kind], nil
		}
		if variables[kind] == nil {
			return nil, fmt.Errorf("there are no rules of the kind %q", kind)
		}
		opts := []cel.EnvOption{cel.ParserExpressionSizeLimit(MaxBytes), cel.ParserRecursionLimit(maxNesting), cel.CrossTypeNumericComparisons(true), cel.DefaultUTCTimeZone(true)}
		for _, name := range variables[kind] {
			t := variableTypes[name]
			if t == nil {
				t = cel.StringType
			}
			opts = append(opts, cel.Variable(name, t))
		}
		env, err := cel.NewEnv(opts...)
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		made[kind] = env
		return env, nil
	}
}()

type key struct {
	kind   Kind
	source string
}

type result struct {
	rule *Rule
	err  error
}

// cache remembers what was asked for lately, in two generations.
type cache struct {
	mu         sync.Mutex
	fresh, old map[key]result
}

var compiled cache

func (c *cache) get(k key, compile func() (*Rule, error)) (*Rule, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.fresh[k]
	if !ok {
		if r, ok = c.old[k]; !ok {
			r.rule, r.err = compile()
		}
		c.put(k, r)
	}
	return r.rule, r.err
}

func (c *cache) put(k key, r result) {
	if len(c.fresh) >= remembered {
		c.fresh, c.old = nil, c.fresh
	}
	if c.fresh == nil {
		c.fresh = map[key]result{}
	}
	c.fresh[k] = r
}

// ReadClaims makes the variable Claims of the JSON of a token's claims; of what is no
// object, an empty one.
func ReadClaims(b []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var claims map[string]any
	if d.Decode(&claims) != nil || claims == nil {
		return map[string]any{}
	}
	for k, v := range claims {
		claims[k] = native(v)
	}
	return claims
}

// native replaces numbers: those that are whole by int64, others by float64.
func native(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64() // what is out of range is infinite
		return f
	case []any:
		for i := range v {
			v[i] = native(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = native(v[k])
		}
	}
	return v
}
