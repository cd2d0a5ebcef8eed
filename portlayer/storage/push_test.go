package storage_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
)

var (
	_ engine.ImagePusher   = (*storage.Images)(nil)
	_ engine.ImageArchives = (*storage.Images)(nil)
)

// TestPush: what was pulled is pushed elsewhere with the same digest, mounted
// from where it was, and what was made here can be pulled from there.
func TestPush(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	img := f.pull(f.push("base", []string{"base=1"}))
	pulled := img.RepoDigests[0][strings.Index(img.RepoDigests[0], "@")+1:]
	copied := f.reg.Host() + "/team/copy:1"
	if err := f.Tag(ctx, img.ID, copied); err != nil {
		t.Fatal(err)
	}
	// This registry shares blobs between repositories; most do not.
	mounted := ""
	f.reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/team/copy/blobs/"):
			w.WriteHeader(http.StatusNotFound)
		case r.Method == http.MethodPost && r.URL.Query().Get("from") == "base":
			mounted = r.URL.Query().Get("mount")
			w.WriteHeader(http.StatusCreated)
		default:
			return false
		}
		return true
	})
	var w words
	done, err := f.Images.Push(ctx, copied, spec.PushOptions{Progress: w.hear})
	if err != nil || done.Digest != pulled || done.Tag != "1" || done.Size == 0 {
		t.Fatalf("%+v, %v, want %s", done, err, pulled)
	}
	id := img.Layers[0][7:19]
	if said := w.of(id); !slices.Equal(said, []string{"Preparing", "Mounted from base"}) {
		t.Errorf("%q", said)
	}
	if got, err := f.Resolve(f.reg.Host() + "/team/copy@" + pulled); err != nil || got.ID != img.ID {
		t.Errorf("by its digest: %v", err)
	}
	if blob := blobOf(t, f, img, 0).Blob; mounted != blob {
		t.Errorf("mounted %q, the layer is %s", mounted, blob)
	}
	f.reg.Misbehave(nil)
	w = words{}
	if again, err := f.Images.Push(ctx, copied, spec.PushOptions{Progress: w.hear}); err != nil || again != done {
		t.Errorf("%+v, %v", again, err)
	}
	if said := w.of(id); !slices.Equal(said, []string{"Preparing", "Layer already exists"}) {
		t.Errorf("%q", said)
	}

	// Made here, of the pulled layer and one of its own, to another registry.
	other := imagetest.Start(t)
	name := other.Host() + "/made:2"
	made := f.put(spec.ImageSource{Config: []byte(bare), Parent: img.ID, Layers: []spec.ImageLayer{content(imagetest.Tar(t, "top=2"))}, Names: []string{name}})
	w = words{}
	done, err = f.Images.Push(ctx, name, spec.PushOptions{Progress: w.hear})
	if err != nil {
		t.Fatal(err)
	}
	if said := w.of(made.Layers[1][7:19]); !slices.Equal(said, []string{"Preparing", "Pushing", "Pushed"}) {
		t.Errorf("%q", said)
	}
	g := newFixture(t)
	got := g.pull(name)
	if got.ID != made.ID || g.file(got.ID, "top") != "2" || g.file(got.ID, "base") != "1" {
		t.Errorf("pulled: %+v", got)
	}
	if d := cmp.Diff([]string{other.Host() + "/made@" + done.Digest}, got.RepoDigests); d != "" {
		t.Error(d)
	}
}

func TestPushRefuses(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	img := f.pull(f.push("base", []string{"base=1"}))
	name := f.reg.Host() + "/base:latest"
	if _, err := f.Images.Push(ctx, f.reg.Host()+"/base:no", spec.PushOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("no such tag: %v", err)
	}
	if _, err := f.Images.Push(ctx, img.RepoDigests[0], spec.PushOptions{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("digest: %v", err)
	}
	if _, err := f.Images.Push(ctx, name, spec.PushOptions{Platform: "linux/arm64"}); !errdefs.IsNotFound(err) {
		t.Errorf("platform: %v", err)
	}
	answer := func(method, part string, status int, body string) {
		f.reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != method || !strings.Contains(r.URL.Path, part) {
				return false
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
			return true
		})
	}
	for _, c := range []struct {
		method, part string
		status       int
		body         string
		is           func(error) bool
		text         string
	}{
		{"PUT", "/manifests/", 403, `{"errors":[{"code":"DENIED","message":"read only"}]}`, errdefs.IsPermissionDenied, "denied: read only"},
		{"HEAD", "/blobs/", 401, "", errdefs.IsPermissionDenied, "denied: requested access to the resource is denied"},
		{"PUT", "/manifests/", 400, `{"errors":[{"code":"MANIFEST_INVALID","message":"no"}]}`, errdefs.IsInvalidArgument, "manifest invalid: no"},
		{"PUT", "/manifests/", 502, "", errdefs.IsUnavailable, "502"},
		{"PUT", "/manifests/", 405, "", errdefs.IsNotFound, "takes no push to base"},
	} {
		answer(c.method, c.part, c.status, c.body)
		_, err := f.Images.Push(ctx, name, spec.PushOptions{})
		if !c.is(err) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s %s %d: %v", c.method, c.part, c.status, err)
		}
	}
	if got, err := f.Resolve(img.ID); err != nil || !slices.Equal(got.RepoDigests, img.RepoDigests) {
		t.Errorf("after pushes that failed: %+v, %v", got.RepoDigests, err)
	}
}

// TestPushGoesOn: an upload that the registry cuts off is sent again.
func TestPushGoesOn(t *testing.T) {
	f := newFixture(t)
	other := imagetest.Start(t)
	name := other.Host() + "/made:1"
	f.put(spec.ImageSource{Config: []byte(bare), Layers: []spec.ImageLayer{content(imagetest.Tar(t, "a=1"))}, Names: []string{name}})
	cut := false
	other.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if cut || r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		cut = true
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	if _, err := f.Images.Push(context.Background(), name, spec.PushOptions{}); err != nil || !cut {
		t.Errorf("%v, cut %v", err, cut)
	}
	if got := newFixture(t).pull(name); len(got.Layers) != 1 {
		t.Errorf("%+v", got)
	}
}
