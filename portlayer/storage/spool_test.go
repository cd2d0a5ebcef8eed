package storage

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// TestSpoolsShare: what one piece of work took is not there for another, in the same
// folder and until it is over.
func TestSpoolsShare(t *testing.T) {
	base := t.TempDir()
	made := func(base string) *spool {
		t.Helper()
		sp, err := newSpool(base, "x-")
		if err != nil {
			t.Fatal(err)
		}
		return sp
	}
	a, b := made(base), made(base+"/")
	const rest = 1 << 20
	half := a.left() - 2*rest
	if err := a.take(half); err != nil {
		t.Fatal(err)
	}
	if err := b.take(3 * rest); !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "3MiB more needed, 2MiB free") {
		t.Errorf("the other takes what is taken: %v", err)
	}
	if err := b.take(rest); err != nil {
		t.Errorf("the other takes what is there: %v", err)
	}
	a.give(rest / 2)
	if got := b.left(); got != rest+rest/2 {
		t.Errorf("%d bytes left after some were given back", got)
	}
	if _, err := b.writer(io.Discard).Write(make([]byte, rest)); err != nil {
		t.Error(err)
	}
	other := made(t.TempDir())
	if err := other.take(rest); err != nil {
		t.Errorf("in another folder: %v", err)
	}
	for _, sp := range []*spool{a, other} {
		if err := sp.close(); err != nil {
			t.Error(err)
		}
	}
	if got := b.left(); got != half { // half + 2*rest - its own 2*rest
		t.Errorf("%d bytes left after the first was over, want %d", got, half)
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	scratches.mu.Lock()
	still := scratches.of[base] != nil
	scratches.mu.Unlock()
	if l, err := filepath.Glob(base + "/*"); err != nil || len(l) > 0 || still {
		t.Errorf("left behind: %q, the room %t, %v", l, still, err)
	}
}
