// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/klaxon-dev/klaxon/api/v1alpha1"
)

// maxFile bounds what is read of one file.
const maxFile = 8 << 20

// Set is what the files hold. Objects of other kinds are left out.
type Set struct {
	Channels []v1alpha1.Channel
	Pushers  []v1alpha1.Pusher
	Secrets  map[types.NamespacedName]*corev1.Secret
}

// Problem is something in a file that cannot be served.
type Problem struct {
	File string
	// Object is the kind and name, as far as they are known.
	Object string
	// Message says what is wrong and what to do.
	Message string
}

// String is the problem in one line.
func (p Problem) String() string {
	var parts []string
	for _, s := range []string{p.File, p.Object, p.Message} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ": ")
}

// Loader reads manifests. Make one with NewLoader; it can be used again.
type Loader struct{ schemas schemas }

// NewLoader prepares the checks.
func NewLoader() (*Loader, error) {
	s, err := loadSchemas()
	if err != nil {
		return nil, err
	}
	return &Loader{schemas: s}, nil
}

// Files returns the manifests at path: the file itself, or all .yaml, .yml and
// .json files directly in the folder, sorted.
func Files(path string) ([]string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	if !fi.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("manifests: %w", err)
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	return files, nil
}

// Load reads the manifests at path. Objects with problems are not in the Set.
// The error says that path itself cannot be read.
func (l *Loader) Load(path string) (*Set, []Problem, error) {
	files, err := Files(path)
	if err != nil {
		return nil, nil, err
	}
	r := &reading{loader: l, set: &Set{Secrets: map[types.NamespacedName]*corev1.Secret{}}, seen: map[string]string{}}
	for _, file := range files {
		r.file = file
		if err := r.read(); err != nil {
			r.problem("", err.Error())
		}
	}
	return r.set, r.problems, nil
}

// reading is the state of one Load.
type reading struct {
	loader   *Loader
	set      *Set
	problems []Problem
	file     string
	seen     map[string]string // object → file
}

func (r *reading) problem(object, message string) {
	r.problems = append(r.problems, Problem{File: r.file, Object: object, Message: message})
}

func (r *reading) read() error {
	f, err := os.Open(r.file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	if len(b) > maxFile {
		return fmt.Errorf("is larger than %d bytes", maxFile)
	}
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(b)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		obj, err := parse(doc)
		if err != nil {
			r.problem("", err.Error())
			continue
		}
		if len(obj) > 0 {
			r.object(obj)
		}
	}
}

// parse reads one document of YAML or JSON. Whole numbers become int64, as in
// the API server: rules on fields that are a string or an integer ask for that.
func parse(doc []byte) (map[string]any, error) {
	b, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return nil, fmt.Errorf("is not YAML: %w", err)
	}
	var obj map[string]any
	if err := utiljson.Unmarshal(b, &obj); err != nil {
		return nil, fmt.Errorf("is not an object: %w", err)
	}
	return obj, nil
}

// object takes one object into the set, if it is of a kind that is served.
func (r *reading) object(obj map[string]any) {
	apiVersion, _ := obj["apiVersion"].(string)
	kind, _ := obj["kind"].(string)
	meta, _ := obj["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if apiVersion != v1alpha1.GroupVersion.String() && (apiVersion != "v1" || kind != "Secret") {
		return
	}
	label := kind + " " + name
	if name == "" {
		r.problem(kind, "metadata.name is missing")
		return
	}
	if meta["namespace"] == nil {
		meta["namespace"] = "default"
	}
	key := fmt.Sprint(kind, " ", meta["namespace"], "/", name)
	if first, twice := r.seen[key]; twice {
		r.problem(label, "is in "+first+" already")
		return
	}
	r.seen[key] = r.file
	if kind == "Secret" {
		r.secret(label, obj)
		return
	}
	k := r.loader.schemas[kind]
	if k == nil {
		r.problem(label, "there is no such kind in "+apiVersion)
		return
	}
	if messages := k.check(obj); len(messages) > 0 {
		for _, m := range messages {
			r.problem(label, m)
		}
		return
	}
	if err := r.add(kind, obj); err != nil {
		r.problem(label, err.Error())
	}
}

func (r *reading) add(kind string, obj map[string]any) error {
	convert := runtime.DefaultUnstructuredConverter.FromUnstructured
	if kind == "Pusher" {
		var p v1alpha1.Pusher
		if err := convert(obj, &p); err != nil {
			return err
		}
		r.set.Pushers = append(r.set.Pushers, p)
		return nil
	}
	var c v1alpha1.Channel
	if err := convert(obj, &c); err != nil {
		return err
	}
	r.set.Channels = append(r.set.Channels, c)
	return nil
}

func (r *reading) secret(label string, obj map[string]any) {
	b, err := yaml.Marshal(obj)
	if err != nil {
		r.problem(label, err.Error())
		return
	}
	s := &corev1.Secret{}
	if err := yaml.UnmarshalStrict(b, s); err != nil {
		r.problem(label, err.Error())
		return
	}
	for k, v := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[k] = []byte(v)
	}
	r.set.Secrets[types.NamespacedName{Namespace: s.Namespace, Name: s.Name}] = s
}
