package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/sirupsen/logrus"
)

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

func TestBuild(t *testing.T) {
	dir := t.TempDir()
	imgs, err := Build(t.Context(), Config{Dir: dir, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	again, err := Build(t.Context(), Config{Dir: dir, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{HelloWorld, Busybox, Web, Layers, Damaged, Ryuk, OldRyuk} {
		img := imgs[name]
		if img == nil {
			t.Fatalf("no %s", name)
		}
		d1, _ := img.Digest()
		d2, _ := again[name].Digest()
		if d1 != d2 {
			t.Errorf("%s: %s, then %s", name, d1, d2)
		}
		c, err := img.ConfigFile()
		if err != nil || c.OS != "linux" || c.Architecture != "amd64" || len(c.History) != len(c.RootFS.DiffIDs) {
			t.Errorf("%s: %+v %v", name, c, err)
		}
	}
	t.Run("busybox", func(t *testing.T) {
		f := flat(t, imgs[Busybox])
		if f["bin/sh"] == nil || f["bin/sh"].Linkname != "bin/busybox" || f["etc/passwd"] == nil || f["tmp"].Mode != 0o1777 {
			t.Error("sh, passwd or tmp")
		}
	})
	t.Run("layers", func(t *testing.T) {
		f := flat(t, imgs[Layers])
		for _, gone := range []string{"data/gone", "data/gone-dir", "data/gone-dir/f"} {
			if f[gone] != nil {
				t.Errorf("%s is there", gone)
			}
		}
		if f["data/two"].Typeflag != tar.TypeLink || f["data/two"].Mode != 0o644 || f["data/special"].Mode != 0o4750 {
			t.Error("hard link or mode")
		}
	})
	t.Run("hello", func(t *testing.T) {
		bin := filepath.Join(t.TempDir(), "hello")
		extract(t, imgs[HelloWorld], "hello", bin)
		out, err := exec.Command(bin).Output()
		if err != nil || !strings.HasPrefix(string(out), "Hello from vic!\n") {
			t.Errorf("%q %v", out, err)
		}
	})
	t.Run("web ends at SIGTERM", func(t *testing.T) {
		bin := filepath.Join(t.TempDir(), "web")
		extract(t, imgs[Web], "usr/bin/web", bin)
		cmd := exec.Command(bin)
		cmd.Env = []string{"LISTEN=127.0.0.1:0", "WWW=" + t.TempDir()}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 4)
		if _, err := io.ReadFull(out, first); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		rest, _ := io.ReadAll(out)
		if err := cmd.Wait(); err != nil || !bytes.Contains(rest, []byte("ending")) {
			t.Errorf("%q %v", rest, err)
		}
	})
}

func TestProgramsGiven(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(t.Context(), Config{Dir: t.TempDir(), Programs: dir, Log: quiet()}); err == nil {
		t.Fatal("a script is no static program")
	}
	_, err := Build(t.Context(), Config{Dir: t.TempDir(), Programs: t.TempDir(), Go: "/nonexistent/go", Log: quiet()})
	if err == nil || !strings.Contains(err.Error(), "go command") {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Build(ctx, Config{Dir: t.TempDir(), Log: quiet()}); err == nil {
		t.Fatal("built after the end")
	}
}

// flat is the image's files with all layers applied.
func flat(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	files := map[string]*tar.Header{}
	walk(t, img, func(h *tar.Header, _ io.Reader) { files[strings.TrimSuffix(h.Name, "/")] = h })
	return files
}

func extract(t *testing.T, img v1.Image, name, to string) {
	t.Helper()
	found := false
	walk(t, img, func(h *tar.Header, r io.Reader) {
		if h.Name != name {
			return
		}
		found = true
		b, err := io.ReadAll(r)
		if err == nil {
			err = os.WriteFile(to, b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if !found {
		t.Fatalf("no %s", name)
	}
}

func walk(t *testing.T, img v1.Image, f func(*tar.Header, io.Reader)) {
	t.Helper()
	rc := mutate.Extract(img)
	defer rc.Close()
	for r := tar.NewReader(rc); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f(h, r)
	}
}
