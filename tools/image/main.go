// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image packs files into an OCI image FROM scratch without Docker, as
// one tar in the OCI image layout (OCI image-spec v1, image-layout.md), which
// docker, podman, skopeo, kind and containerd all import:
//
//	image -t REF -o OUT.tar [-entrypoint /path] [-user UID] [-label K=V]... FILE=/path...
//
// One gzipped layer. Executable files become 0755, others 0644, all owned by
// root; /tmp exists. The same input gives the same bytes: no times, no names of
// the machine.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
)

const (
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"
	configType   = "application/vnd.oci.image.config.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	indexType    = "application/vnd.oci.image.index.v1+json"
)

// object is a JSON object.
type object = map[string]any

// options are what the command line says.
type options struct {
	ref, out, entrypoint, user string
	labels                     map[string]string
	files                      []file
}

// file is one file of the image.
type file struct {
	src, dst string
}

func main() {
	opts, err := parse(os.Args[1:])
	if err == nil {
		err = run(opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{labels: map[string]string{}}
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	fs.StringVar(&o.ref, "t", "", "image reference, registry and tag included")
	fs.StringVar(&o.out, "o", "", "output tar")
	fs.StringVar(&o.entrypoint, "entrypoint", "", "entrypoint (default: the first file)")
	fs.StringVar(&o.user, "user", "65532", "numeric user, as runAsNonRoot asks for")
	fs.Func("label", "K=V, may be repeated", func(s string) error {
		k, v, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("a label is K=V")
		}
		o.labels[k] = v
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	for _, a := range fs.Args() {
		src, dst, ok := strings.Cut(a, "=")
		if !ok || !path.IsAbs(dst) || path.Clean(dst) != dst {
			return o, fmt.Errorf("%q is not FILE=/path", a)
		}
		o.files = append(o.files, file{src, dst})
	}
	if o.ref == "" || o.out == "" || len(o.files) == 0 {
		return o, errors.New("usage: image -t REF -o OUT.tar FILE=/path")
	}
	if o.entrypoint == "" {
		o.entrypoint = o.files[0].dst
	}
	return o, nil
}

func run(o options) error {
	layer, err := layerTar(o.files)
	if err != nil {
		return err
	}
	var zipped bytes.Buffer
	zw, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression)
	if _, err := zw.Write(layer); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	archive, err := layout(o, layer, zipped.Bytes())
	if err != nil {
		return err
	}
	return os.WriteFile(o.out, archive, 0o644)
}

// layerTar is the layer's file system, uncompressed.
func layerTar(files []file) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	dirs := map[string]int64{"/tmp": 0o1777}
	for _, f := range files {
		for d := path.Dir(f.dst); d != "/"; d = path.Dir(d) {
			dirs[d] = 0o755
		}
	}
	names := make([]string, 0, len(dirs))
	for d := range dirs {
		names = append(names, d)
	}
	slices.Sort(names)
	for _, d := range names {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: d[1:] + "/", Mode: dirs[d]}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		if err := addFile(w, f); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

func addFile(w *tar.Writer, f file) error {
	st, err := os.Stat(f.src)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(f.src)
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if st.Mode()&0o111 != 0 {
		mode = 0o755
	}
	return add(w, &tar.Header{Name: f.dst[1:], Mode: mode}, b)
}

// layout is the OCI layout: the blobs, named by their hash, and an index.
func layout(o options, layer, zipped []byte) ([]byte, error) {
	blobs := map[string][]byte{}
	put := func(mediaType string, b []byte) object {
		h := digest(b)
		blobs[h] = b
		return object{"mediaType": mediaType, "digest": "sha256:" + h, "size": len(b)}
	}
	l := put(layerType, zipped)
	c := put(configType, toJSON(object{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": object{
			"Entrypoint": []string{o.entrypoint}, "Env": []string{"PATH=/"},
			"User": o.user, "WorkingDir": "/", "Labels": o.labels,
		},
		"rootfs": object{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
	}))
	m := put(manifestType, toJSON(object{
		"schemaVersion": 2, "mediaType": manifestType, "config": c, "layers": []any{l}, "annotations": o.labels,
	}))
	m["annotations"] = object{"io.containerd.image.name": o.ref, "org.opencontainers.image.ref.name": o.ref}
	m["platform"] = object{"architecture": runtime.GOARCH, "os": "linux"}

	files := map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": toJSON(object{"schemaVersion": 2, "mediaType": indexType, "manifests": []any{m}}),
	}
	names := []string{"oci-layout", "index.json"}
	for h, b := range blobs {
		files["blobs/sha256/"+h] = b
		names = append(names, "blobs/sha256/"+h)
	}
	slices.Sort(names[2:])
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, n := range names {
		if err := add(w, &tar.Header{Name: n, Mode: 0o644}, files[n]); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return buf.Bytes(), err
}

func add(w *tar.Writer, h *tar.Header, b []byte) error {
	h.Typeflag, h.Size = tar.TypeReg, int64(len(b))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

func digest(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func toJSON(v object) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and maps of them always marshal
	}
	return b
}
