package storage_test

import (
	"context"
	"testing"

	"github.com/containerd/errdefs"
)

// TestDeleteOfANamedImage: only one that has no other names than those that its
// remover knows goes.
func TestDeleteOfANamedImage(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	img := f.pull(f.push("a", []string{"x=1"}))
	known := append(img.RepoTags, img.RepoDigests...)
	if err := f.Tag(ctx, img.ID, "mine:1"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Delete(ctx, img.ID, known...); !errdefs.IsConflict(err) {
		t.Errorf("%v", err)
	}
	got, err := f.Resolve("mine:1")
	if err != nil || len(got.RepoTags) != 2 || f.file(img.ID, "x") != "1" {
		t.Errorf("then: %+v, %v", got, err)
	}
	if _, err := f.Delete(ctx, img.ID, append(known, "mine:1")...); err != nil {
		t.Error(err)
	}
	if left := f.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}
