package engine_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// blobStore is an image store whose images are listed as they are given.
type blobStore struct {
	*enginetest.Images
	list []spec.Image
}

func (s blobStore) List() []spec.Image { return s.list }

func (s blobStore) Manifest(id string) (string, error) {
	if id == "gone" {
		return "", errdefs.ErrNotFound
	}
	return "manifest of " + id, nil
}

func (s blobStore) OpenBlob(_ context.Context, digest string, _ int64) (io.ReadCloser, int64, error) {
	return io.NopCloser(strings.NewReader(digest)), int64(len(digest)), nil
}

// TestLocalImages: what a registry has by that name is not the store's alone.
func TestLocalImages(t *testing.T) {
	d := "@sha256:" + strings.Repeat("a", 64)
	h := start(t, enginetest.New(), func(c *engine.Config) {
		c.Images = blobStore{Images: enginetest.NewImages(), list: []spec.Image{
			{ID: "1", RepoTags: []string{"app:latest", "reg.test:5000/app:2"}},
			{ID: "2", RepoTags: []string{"busybox:latest", "mine:1"}, RepoDigests: []string{"busybox" + d}},
			{ID: "gone", RepoTags: []string{"gone:1"}}, {ID: "3"},
		}}
	})
	want := map[string]string{
		"docker.io/library/app:latest": "manifest of 1", "reg.test:5000/app:2": "manifest of 1", "docker.io/library/mine:1": "manifest of 2",
	}
	if diff := cmp.Diff(want, h.e.LocalImages()); diff != "" {
		t.Error(diff)
	}
	r, size, err := h.e.ImageBlob(t.Context(), "x", 0)
	if err != nil || size != 1 {
		t.Fatal(size, err)
	}
	r.Close()
}
