package engine

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestTailIsBounded: neither a line without an end nor a tail as long as the log is
// kept in memory; the lines are counted all the same.
func TestTailIsBounded(t *testing.T) {
	entry := func(data string) spec.LogEntry { return spec.LogEntry{Stream: spec.Stdout, Data: []byte(data)} }
	for name, log := range map[string]struct {
		tail  int
		entry func(i int) spec.LogEntry
		n     int
		lines int
	}{
		"a line without an end": {1, func(int) spec.LogEntry { return entry(string(bytes.Repeat([]byte("x"), 16<<10))) }, 1000, 1},
		"a long tail":           {1 << 40, func(i int) spec.LogEntry { return entry(fmt.Sprintln("line", i)) }, 100000, 100000},
	} {
		t.Run(name, func(t *testing.T) {
			w := &tailWriter{max: log.tail}
			for i := range log.n {
				if err := w.entry(log.entry(i)); err != nil {
					t.Fatal(err)
				}
				if w.bytes > tailBytes || w.spilled && w.kept != nil {
					t.Fatalf("%d bytes are kept", w.bytes)
				}
			}
			if !w.spilled || w.lines != log.lines {
				t.Errorf("spilled %t, %d lines", w.spilled, w.lines)
			}
		})
	}
	w := &tailWriter{max: 3}
	for i := range 100000 {
		if err := w.entry(entry(fmt.Sprintln("line", i))); err != nil {
			t.Fatal(err)
		}
	}
	if w.spilled || len(w.kept) != 3 || w.bytes != 3*(len("line 99999\n")+pieceBytes) {
		t.Errorf("spilled %t, %d lines, %d bytes", w.spilled, len(w.kept), w.bytes)
	}
}
