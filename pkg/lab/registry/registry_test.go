package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/sirupsen/logrus"
)

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

func serve(t *testing.T, cfg Config) *Registry {
	t.Helper()
	cfg.Addr, cfg.Log = "127.0.0.1:0", quiet()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func pull(t *testing.T, r *Registry, n string) (v1.Image, error) {
	t.Helper()
	ref, err := name.ParseReference(r.Addr().String()+"/"+n, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	return remote.Image(ref)
}

func TestPull(t *testing.T) {
	img, err := random.Image(100_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 2 { // the second time, the blobs are there already
		r := serve(t, Config{Dir: dir})
		if _, err := pull(t, r, "library/one:latest"); err == nil {
			t.Fatal("pulled what is not there")
		}
		if err := r.Load(t.Context(), map[string]v1.Image{"library/one:latest": img}); err != nil {
			t.Fatal(err)
		}
		got, err := pull(t, r, "library/one:latest")
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(got); err != nil {
			t.Fatal(err)
		}
		want, _ := img.Digest()
		if d, err := got.Digest(); err != nil || d != want {
			t.Fatal(d, err)
		}
	}
}

func TestDamage(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "f", Size: 4, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("text"))
	_ = w.Close()
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, Config{Dir: t.TempDir(), Damage: []string{"library/damaged"}})
	if err := r.Load(t.Context(), map[string]v1.Image{"library/damaged:latest": img, "library/whole:latest": img}); err != nil {
		t.Fatal(err)
	}
	for n, ok := range map[string]bool{"library/whole": true, "library/damaged": false} {
		got, err := pull(t, r, n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := got.ConfigFile(); err != nil {
			t.Errorf("%s: config: %v", n, err)
		}
		if err := validate.Image(got); (err == nil) != ok {
			t.Errorf("%s: %v", n, err)
		}
	}
}

func TestNew(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "localhost", "192.0.2.1:0"} {
		if _, err := New(Config{Addr: addr, Dir: t.TempDir(), Log: quiet()}); err == nil {
			t.Errorf("%s accepted", addr)
		}
	}
	r := serve(t, Config{Dir: t.TempDir()})
	if _, err := New(Config{Addr: r.Addr().String(), Dir: t.TempDir(), Log: quiet()}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	resp, err := http.Get("http://" + r.Addr().String() + "/v2/")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("%v %v", resp, err)
	}
	_ = resp.Body.Close()
}

// TestPrivate: a private repository is there for its account alone, the others for all.
func TestPrivate(t *testing.T) {
	img, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, Config{Dir: t.TempDir(), Private: []string{"private/"}})
	write := func(repo string, o ...remote.Option) error {
		ref, err := name.ParseReference(r.Addr().String()+"/"+repo, name.Insecure)
		if err != nil {
			t.Fatal(err)
		}
		return remote.Write(ref, img, o...)
	}
	account := func(password string) remote.Option {
		return remote.WithAuth(&authn.Basic{Username: PrivateUser, Password: password})
	}
	if err := write("private/app:1"); err == nil {
		t.Error("written without the account")
	}
	if err := write("private/app:1", account("wrong")); err == nil {
		t.Error("written with a wrong password")
	}
	if err := write("private/app:1", account(PrivatePassword)); err != nil {
		t.Error(err)
	}
	if _, err := pull(t, r, "private/app:1"); err == nil {
		t.Error("read without the account")
	}
	if err := write("public/app:1"); err != nil {
		t.Error(err)
	}
}
