package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// busyImages is a store in which something happens at the wrong moment.
type busyImages struct {
	*enginetest.Images
	before func() error // before a removal
	disk   func()       // before a container gets its disk
}

func (b *busyImages) Delete(ctx context.Context, id string, names ...string) ([]string, error) {
	if b.before != nil {
		if err := b.before(); err != nil {
			return nil, err
		}
	}
	return b.Images.Delete(ctx, id, names...)
}

// TestNamedWhileRemoved: an image that somebody names while it is being removed is
// theirs, whichever way it was to go.
func TestNamedWhileRemoved(t *testing.T) {
	for name, c := range map[string]struct {
		remove func(h *harness, id string) ([]engine.ImageDeletion, error)
		want   []engine.ImageDeletion
		is     func(error) bool
	}{
		"by id": {func(h *harness, id string) ([]engine.ImageDeletion, error) { return h.e.ImageRemove(h.ctx, id, false) }, nil, errdefs.IsConflict},
		"by name": {func(h *harness, _ string) ([]engine.ImageDeletion, error) {
			return h.e.ImageRemove(h.ctx, "busybox", false)
		}, []engine.ImageDeletion{{Untagged: "busybox:latest"}, {Untagged: "busybox@"}}, func(err error) bool { return err == nil }},
		"prune": {func(h *harness, _ string) ([]engine.ImageDeletion, error) {
			done, _, err := h.e.ImagePrune(h.ctx, engine.Filters{"dangling": {"false"}})
			return done, err
		}, nil, func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			var store *busyImages
			h := start(t, nil, func(c *engine.Config) {
				store = &busyImages{Images: c.Images.(*enginetest.Images)}
				c.Images = store
			})
			id := h.images.List()[0].ID
			store.before = func() error { return h.images.Tag(h.ctx, id, "docker.io/library/mine:1") }
			done, err := c.remove(h, id)
			for i := range done { // without the digest itself
				if len(done[i].Untagged) > len("busybox@") && done[i].Untagged[7] == '@' {
					done[i].Untagged = "busybox@"
				}
			}
			if d := cmp.Diff(c.want, done); !c.is(err) || d != "" {
				t.Errorf("%v\n%s", err, d)
			}
			if img, err := h.e.ImageInspect("mine:1"); err != nil || img.ID != id {
				t.Errorf("the name that was given: %v", err)
			}
		})
	}
}

// TestPruneSeesWhatIsNow: an image without a name when the prune began, which has
// one when its turn comes, stays.
func TestPruneSeesWhatIsNow(t *testing.T) {
	var store *busyImages
	h := start(t, nil, func(c *engine.Config) {
		store = &busyImages{Images: c.Images.(*enginetest.Images)}
		c.Images = store
	})
	for _, n := range []string{"busybox:latest", "web:1"} {
		if _, _, _, err := h.e.Pull(h.ctx, mustRef(t, n), pullNothing); err != nil {
			t.Fatal(err)
		}
	}
	var ids []string
	for _, i := range h.images.List() {
		ids = append(ids, i.ID)
		for _, n := range append(i.RepoTags, i.RepoDigests...) {
			if err := h.images.Untag(h.ctx, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	// While the first goes, the other is named.
	store.before = func() error {
		store.before = nil
		for _, id := range ids {
			if err := h.images.Tag(h.ctx, id, "docker.io/library/mine:1"); err != nil {
				return err
			}
		}
		return errors.New("the disk is locked")
	}
	done, _, err := h.e.ImagePrune(h.ctx, nil)
	if err != nil || len(done) != 0 || len(h.images.List()) != 2 {
		t.Errorf("%v, %v, %d images are left", done, err, len(h.images.List()))
	}
}

// TestRemoveFails: an image that cannot be removed keeps its names.
func TestRemoveFails(t *testing.T) {
	locked := errors.New("the disk is locked")
	for _, byName := range []bool{true, false} {
		var store *busyImages
		h := start(t, nil, func(c *engine.Config) {
			store = &busyImages{Images: c.Images.(*enginetest.Images)}
			c.Images = store
		})
		before := h.images.List()
		store.before = func() error { return locked }
		ref := before[0].ID
		if byName {
			ref = "busybox"
		}
		if done, err := h.e.ImageRemove(h.ctx, ref, false); !errors.Is(err, locked) || len(done) != 0 {
			t.Errorf("%s: %v, %v", ref, done, err)
		}
		if d := cmp.Diff(before, h.images.List()); d != "" {
			t.Error(d)
		}
	}
}

// TestCreateAndRemove: an image stays while a container of it is being made, and a
// container is not made of one that goes.
func TestCreateAndRemove(t *testing.T) {
	var store *busyImages
	h := start(t, nil, func(c *engine.Config) {
		store = &busyImages{Images: c.Images.(*enginetest.Images)}
		c.Images = store
	})
	store.disk = func() {
		store.disk = nil
		for _, force := range []bool{true, false} {
			if done, err := h.e.ImageRemove(h.ctx, "busybox", force); !errdefs.IsConflict(err) || len(done) != 0 {
				t.Errorf("while a container is made, force %v: %v, %v", force, done, err)
			}
		}
		if done, _, err := h.e.ImagePrune(h.ctx, engine.Filters{"dangling": {"false"}}); err != nil || len(done) != 0 {
			t.Errorf("prune while a container is made: %v, %v", done, err)
		}
	}
	id := h.create("one", `{"Image":"busybox"}`)
	if store.disk != nil || len(h.images.List()) != 1 {
		t.Fatalf("%d images", len(h.images.List()))
	}
	if err := h.e.Remove(h.ctx, id, engine.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	store.before = func() error {
		if _, _, err := h.tryCreate("two", `{"Image":"busybox"}`); !errdefs.IsNotFound(err) || err.Error() != "No such image: busybox:latest" {
			t.Errorf("of an image that goes: %v", err)
		}
		return nil
	}
	if _, err := h.e.ImageRemove(h.ctx, "busybox", false); err != nil || len(h.f.Containers()) != 0 {
		t.Errorf("%v, %d containers", err, len(h.f.Containers()))
	}
}

func (b *busyImages) Disk(ctx context.Context, id string) (string, error) {
	if b.disk != nil {
		b.disk()
	}
	return b.Images.Disk(ctx, id)
}
