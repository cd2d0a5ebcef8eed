package exec

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/simulator"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestFilesOfOneThatEnds: a process that ends while its files are asked for, and the
// VM with it, does not fail whom nothing was told yet: the files are those of the
// stopped container then.
func TestFilesOfOneThatEnds(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot(quick)
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for name, o := range map[string]struct {
		ask  func() error
		fail bool
	}{
		"stat": {ask: func() error { _, err := e.StatFile(t.Context(), c.ID, "/x"); return err }},
		"get": {ask: func() error {
			return e.GetFiles(t.Context(), c.ID, "/x", func(spec.FileStat) (io.Writer, error) { return &out, nil })
		}},
		"changes": {ask: func() error { _, err := e.Changes(t.Context(), c.ID); return err }},
		"export":  {ask: func() error { return e.Export(t.Context(), c.ID, &out) }},
		// What was sent of the tar is lost.
		"put": {ask: func() error {
			return e.PutFiles(t.Context(), c.ID, spec.FileRequest{Path: "/x"}, strings.NewReader("tar for /x"))
		}, fail: true},
	} {
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		before := l.guests.maintenances()
		l.guests.files.loseOnce(func() error {
			if err := e.Stop(context.Background(), c.ID, "", -1); err != nil {
				t.Error(err)
			}
			return fmt.Errorf("the line was lost: %w", errdefs.ErrUnavailable)
		})
		err := o.ask()
		if o.fail != errdefs.IsUnavailable(err) || !o.fail && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := l.guests.maintenances() - before; !o.fail && n != 1 {
			t.Errorf("%s: %d boots", name, n)
		}
		e.rests(c.ID)
	}
	if out.String() != "tar of /xall" && out.String() != "alltar of /x" {
		t.Errorf("%q", out.String())
	}
	// One whose guest is there still is told of what is wrong.
	if err := e.Start(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.guests.files.loseOnce(func() error {
		cancel()
		return fmt.Errorf("the line was lost: %w", errdefs.ErrUnavailable)
	})
	if _, err := e.StatFile(ctx, c.ID, "/x"); err == nil {
		t.Error("an answer without a line")
	}
}

func (f *fileServer) loseOnce(lost func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lost = lost
}
