package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
)

// TestWhatIsDoneIsToldFirst: what a call does is told before what comes of it.
func TestWhatIsDoneIsToldFirst(t *testing.T) {
	h := start(t, nil)
	seen := h.collect(engine.Filters{"type": {"container"}, "event": {"kill", "die"}})
	var ids []string
	for n := range 100 {
		ids = append(ids, h.run(fmt.Sprint("cc", n), `"Cmd":["trap"]`))
	}
	for _, id := range ids {
		if err := h.e.Kill(h.ctx, id, ""); err != nil {
			t.Fatal(err)
		}
	}
	h.until("all events", func() bool { return len(seen()) == 2*len(ids) })
	want := strings.Repeat("kill die(137) ", len(ids))
	if got := strings.Join(seen(), " ") + " "; got != want {
		t.Errorf("events %s", got)
	}
}
