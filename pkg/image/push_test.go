package image_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	. "github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
)

// upload is an image of these layers.
func upload(layers ...string) Upload {
	conf := `{"architecture":"amd64","os":"linux"}`
	u := Upload{
		Config:   Blob{Digest: digest.FromString(conf), Data: []byte(conf)},
		Manifest: Blob{MediaType: "application/vnd.oci.image.manifest.v1+json", Data: []byte(`{"schemaVersion":2}`)},
		Open: func(_ context.Context, l Layer) (io.ReadCloser, error) {
			i := slices.IndexFunc(layers, func(s string) bool { return digest.FromString(s) == l.Digest })
			return io.NopCloser(strings.NewReader(layers[i])), nil
		},
	}
	u.Manifest.Digest = digest.FromBytes(u.Manifest.Data)
	for _, l := range layers {
		u.Layers = append(u.Layers, Layer{Digest: digest.FromString(l), DiffID: digest.FromString(l), MediaType: "application/vnd.oci.image.layer.v1.tar", Size: int64(len(l))})
	}
	return u
}

// TestPushAsks for a token that may push there and pull from where layers are
// mounted, shows it, and sends the layers, the topmost first.
func TestPushAsks(t *testing.T) {
	reg := imagetest.Start(t)
	var scopes []string
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token":
			if user, pass, _ := r.BasicAuth(); user != "me" || pass != "geheim" {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			scopes = append(scopes, r.URL.Query()["scope"]...)
			fmt.Fprint(w, `{"token":"good"}`)
			return true
		case r.Header.Get("Authorization") == "Bearer good":
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+reg.URL+`/token",service="s"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	c := newClient(t, ClientConfig{Uploads: 1})
	ref := parse(t, reg.Host()+"/app:1").(reference.NamedTagged)
	u := upload("lower", "upper", "lower")
	u.From = map[digest.Digest][]string{u.Layers[0].Digest: {"team/base"}}
	u.Layers = append(u.Layers, Layer{Digest: digest.FromString("f"), DiffID: digest.FromString("f"), MediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"})
	var said []string
	err := c.Push(context.Background(), ref, u, Auth{Username: "me", Password: "geheim"}, func(p spec.Progress) {
		said = append(said, p.Status+" "+p.ID)
	})
	if err != nil {
		t.Fatal(err)
	}
	lower, upper, foreign := Layer{Digest: digest.FromString("lower")}.ShortID(), Layer{Digest: digest.FromString("upper")}.ShortID(), Layer{Digest: digest.FromString("f")}.ShortID()
	want := []string{"Preparing " + foreign, "Preparing " + lower, "Preparing " + upper, "Waiting " + lower, "Waiting " + upper, "Skipped foreign layer " + foreign}
	if len(said) < len(want) || !slices.Equal(said[:len(want)], want) || !slices.Contains(said, "Pushed "+upper) || !slices.Contains(said, "Pushed "+lower) {
		t.Errorf("%q", said)
	}
	for _, s := range []string{"repository:app:pull,push", "repository:team/base:pull"} {
		if !slices.ContainsFunc(scopes, func(have string) bool { return strings.Contains(have, s) }) {
			t.Errorf("no scope %s in %q", s, scopes)
		}
	}
	if n := len(reg.Requests("PUT /v2/app/blobs/")) + len(reg.Requests("PATCH /v2/app/blobs/")); n != 3 {
		t.Errorf("%d blobs were sent, want 2 layers and the configuration", n)
	}
	err = c.Push(context.Background(), ref, u, Auth{Username: "me", Password: "wrong"}, nil)
	if !errdefs.IsUnauthorized(err) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
	if err = c.Push(context.Background(), ref, u, Auth{}, nil); !errdefs.IsPermissionDenied(err) {
		t.Errorf("nobody: %v", err)
	}
}

// TestPushedManifestIsKept: a registry that keeps other bytes than were sent is
// found out.
func TestPushedManifestIsKept(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Docker-Content-Digest", digest.FromString("other").String())
		w.WriteHeader(http.StatusCreated)
		return true
	})
	ref := parse(t, reg.Host()+"/app:1").(reference.NamedTagged)
	if err := newClient(t, ClientConfig{}).Push(context.Background(), ref, upload("a"), Auth{}, nil); !errdefs.IsDataLoss(err) {
		t.Error(err)
	}
}

// TestCancelledPush ends while a layer is sent, and sends nothing more.
func TestCancelledPush(t *testing.T) {
	reg := imagetest.Start(t)
	ctx, cancel := context.WithCancel(context.Background())
	u := upload("a")
	u.Open = func(context.Context, Layer) (io.ReadCloser, error) {
		cancel()
		return io.NopCloser(bytes.NewReader([]byte("a"))), nil
	}
	ref := parse(t, reg.Host()+"/app:1").(reference.NamedTagged)
	if err := newClient(t, ClientConfig{}).Push(ctx, ref, u, Auth{}, nil); ctx.Err() == nil || err == nil {
		t.Errorf("%v", err)
	}
	if got := reg.Requests("PUT /v2/app/manifests/"); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
