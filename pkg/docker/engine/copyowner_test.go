package engine_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"
)

// putter notes what is asked of the guest.
type putter struct {
	*enginetest.Fake
	asked spec.FileRequest
}

func (p *putter) PutFiles(_ context.Context, _ string, q spec.FileRequest, in io.Reader) error {
	p.asked = q
	_, err := io.Copy(io.Discard, in)
	return err
}

// TestCopyOwner: `docker cp -a` gives files to the user that the container names; one
// that names none keeps the owners that the files have.
func TestCopyOwner(t *testing.T) {
	for user, want := range map[string]bool{"": false, "www": true, "0": true} {
		var p *putter
		h := start(t, nil, func(c *engine.Config) {
			p = &putter{Fake: c.PortLayer.(*enginetest.Fake)}
			c.PortLayer = p
		})
		h.create("one", `{"Image":"busybox","User":"`+user+`"}`)
		for _, ask := range []bool{true, false} {
			if err := h.e.PutFiles(h.ctx, "one", "/", engine.PutOptions{CopyUIDGID: ask}, strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
			if p.asked.CopyUIDGID != (want && ask) {
				t.Errorf("user %q, asked for %v: %+v", user, ask, p.asked)
			}
		}
	}
}
