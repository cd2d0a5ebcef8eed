package exec

import (
	"os"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestNext reads the table in the comment of next and holds the code to it.
func TestNext(t *testing.T) {
	src, err := os.ReadFile("state.go")
	if err != nil {
		t.Fatal(err)
	}
	columns := []event{evCreated, evFailed, evStart, evOn, evStarted, evStop, evOff, evRemove, evRemoved, evVanished, evBroken}
	rows := 0
	for _, line := range strings.Split(string(src), "\n") {
		f := strings.Fields(strings.TrimPrefix(line, "//\t"))
		if !strings.HasPrefix(line, "//\t") || len(f) != len(columns)+1 {
			continue
		}
		rows++
		from := spec.Phase(f[0])
		for i, e := range columns {
			to, err := next(from, e)
			want := f[i+1]
			switch {
			case want == "-":
				if !errdefs.IsConflict(err) || to != from {
					t.Errorf("%s + %s: %q, %v; want a conflict", from, e, to, err)
				}
			case err != nil || name(to) != want:
				t.Errorf("%s + %s: %s, %v; want %s", from, e, name(to), err, want)
			}
		}
	}
	if want := len(transitions); rows != want {
		t.Errorf("the table has %d rows, want %d", rows, want)
	}
	if _, err := next(phaseGone, evStart); !errdefs.IsConflict(err) {
		t.Errorf("gone: %v", err)
	}
}
