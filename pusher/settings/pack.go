// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	// MaxParts is how many parts a packed document may have.
	MaxParts = 4
	// PartBytes is the largest size of a part: what a Kubernetes Secret (1 MiB)
	// takes with room for its names.
	PartBytes = 900 << 10
	// IndexFile is the name of the index in a settings directory.
	IndexFile = "index.json"
	// maxDocument bounds what Load unpacks: far more than MaxParts of real
	// settings ever hold, far less than a gzip bomb.
	maxDocument = 256 << 20
)

// PartFile is the name of part i in a settings directory.
func PartFile(i int) string { return fmt.Sprintf("part-%d.gz", i) }

// ErrTooLarge means that a document does not fit into MaxParts parts.
var ErrTooLarge = errors.New("settings are too large")

// index names the parts and their content, so that a reader can tell whether
// all parts of a directory belong together.
type index struct {
	Revision string   `json:"revision"`
	SHA256   []string `json:"sha256"`
}

// Packed is a document as it is stored: an index and at least one part.
type Packed struct {
	Index []byte
	Parts [][]byte
}

// Pack gzips the document and cuts it into parts. It returns ErrTooLarge when
// it does not fit. Equal documents pack to equal bytes.
func Pack(s *Settings) (*Packed, error) {
	doc, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("marshal settings: %w", err)
	}
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("gzip settings: %w", err)
	}
	if _, err := zw.Write(doc); err != nil {
		return nil, fmt.Errorf("gzip settings: %w", err)
	}
	if err := zw.Close(); err != nil {
		return nil, fmt.Errorf("gzip settings: %w", err)
	}
	if buf.Len() > MaxParts*PartBytes {
		return nil, fmt.Errorf("%w: %d bytes packed, at most %d fit", ErrTooLarge, buf.Len(), MaxParts*PartBytes)
	}
	p := &Packed{}
	idx := index{Revision: s.Revision}
	for rest := buf.Bytes(); len(rest) > 0; {
		part := rest[:min(len(rest), PartBytes)]
		rest = rest[len(part):]
		sum := sha256.Sum256(part)
		idx.SHA256 = append(idx.SHA256, hex.EncodeToString(sum[:]))
		p.Parts = append(p.Parts, part)
	}
	if p.Index, err = json.Marshal(idx); err != nil {
		return nil, fmt.Errorf("marshal settings index: %w", err)
	}
	return p, nil
}

// Load reads the document at path, a JSON file or a settings directory, and
// validates it. Unknown fields, parts that do not belong together and anything
// that Validate finds are errors.
func Load(path string) (*Settings, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	var doc []byte
	if fi.IsDir() {
		doc, err = unpack(func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(path, name)) })
	} else {
		doc, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	return Decode(doc)
}

// Decode reads one JSON document strictly and validates it.
func Decode(doc []byte) (*Settings, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	s := &Settings{}
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("settings: decode: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("settings: decode: more than one JSON value")
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("settings: invalid: %w", err)
	}
	return s, nil
}

func unpack(read func(name string) ([]byte, error)) ([]byte, error) {
	b, err := read(IndexFile)
	if err != nil {
		return nil, err
	}
	var idx index
	if err := json.Unmarshal(b, &idx); err != nil {
		return nil, fmt.Errorf("%s: %w", IndexFile, err)
	}
	if n := len(idx.SHA256); n == 0 || n > MaxParts {
		return nil, fmt.Errorf("%s: names %d parts, 1 to %d are possible", IndexFile, n, MaxParts)
	}
	var packed []byte
	for i, want := range idx.SHA256 {
		part, err := read(PartFile(i))
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(part); hex.EncodeToString(sum[:]) != want {
			return nil, fmt.Errorf("%s is not the part that %s names: another may be on its way", PartFile(i), IndexFile)
		}
		packed = append(packed, part...)
	}
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("gunzip: %w", err)
	}
	doc, err := io.ReadAll(io.LimitReader(zr, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("gunzip: %w", err)
	}
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("gunzip: more than %d bytes", maxDocument)
	}
	return doc, nil
}
