// Copyright The Klaxon Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestDocumentedCloseCodes holds docs/protocol.md to the table.
func TestDocumentedCloseCodes(t *testing.T) {
	b, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(b), "\n## Close codes\n")
	if !ok {
		t.Fatal("docs/protocol.md has no section on close codes")
	}
	var rows int
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| 1") || strings.HasPrefix(line, "| 4") {
			rows++
		}
	}
	if rows != len(CloseTable) {
		t.Errorf("%d codes are documented, %d are sent", rows, len(CloseTable))
	}
	for _, i := range CloseTable {
		if want := fmt.Sprintf("| %d | %s | %s |\n", i.Code, i.Reason, i.Advice); !strings.Contains(section, want) {
			t.Errorf("docs/protocol.md lacks the row %q", want)
		}
	}
}

func TestSessionID(t *testing.T) {
	id := SessionID{1, 2, 3, 0xff, 15: 0xfe}
	if got, ok := ParseSessionID(id.String()); !ok || got != id || len(id.String()) != 26 {
		t.Errorf("%s came back as %s", id, got)
	}
	last := SessionID{}.String()
	for _, bad := range []string{"", "x", id.String() + "A", strings.ToLower(id.String()), last[:25] + "B", strings.Repeat("!", 26)} {
		if got, ok := ParseSessionID(bad); ok {
			t.Errorf("%q was read as %s", bad, got)
		}
	}
}

func TestPosition(t *testing.T) {
	p := Position{Epoch: "abc", Seq: 1 << 60}
	if got, err := ParsePosition(p.String()); err != nil || got != p {
		t.Errorf("%s came back as %v, error %v", p, got, err)
	}
	for _, bad := range []string{"", ".", "a", "a.", ".1", "a.-1", "a.1.2", "a.99999999999999999999", strings.Repeat("a", 40) + ".1"} {
		if got, err := ParsePosition(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}
