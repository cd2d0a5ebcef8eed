package isos

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/ulikunitz/xz"
)

func writeFile(name string, data []byte) error { return os.WriteFile(name, data, 0o644) }

func silent() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// deb makes a package with one data member.
func deb(t *testing.T, member string, headers ...tar.Header) []byte {
	t.Helper()
	var data bytes.Buffer
	var z io.WriteCloser = nopCloser{&data}
	var err error
	switch filepath.Ext(member) {
	case ".gz":
		z = gzip.NewWriter(&data)
	case ".xz":
		z, err = xz.NewWriter(&data)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, h := range headers {
		body := []byte(nil)
		if h.Typeflag == tar.TypeReg {
			body = []byte("contents of " + h.Name)
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	z.Close()
	out := []byte("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.xz", []byte("odd")}, {member, data.Bytes()}} {
		out = append(out, fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))...)
		out = append(out, m.data...)
		if len(m.data)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

func TestPackageTree(t *testing.T) {
	for _, member := range []string{"data.tar", "data.tar.gz", "data.tar.xz"} {
		dir := t.TempDir()
		c := Cache{Dir: dir, Log: silent()}
		if err := os.Mkdir(filepath.Join(dir, "debs"), 0o755); err != nil {
			t.Fatal(err)
		}
		b := deb(t, member, tar.Header{Name: "./", Typeflag: tar.TypeDir}, tar.Header{Name: "./usr/", Typeflag: tar.TypeDir},
			tar.Header{Name: "./usr/lib/a.so.1.2", Typeflag: tar.TypeReg}, tar.Header{Name: "./usr/lib/a.so.1", Typeflag: tar.TypeSymlink, Linkname: "a.so.1.2"})
		if err := writeFile(filepath.Join(dir, "debs", "pkg_1_amd64.deb"), b); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time from the cache
			tree, err := c.Package(t.Context(), "pkg")
			if err != nil {
				t.Fatal(err)
			}
			got, err := fs.ReadFile(tree, "usr/lib/a.so.1")
			if err != nil || string(got) != "contents of ./usr/lib/a.so.1.2" {
				t.Errorf("%s: %q %v", member, got, err)
			}
		}
	}
}

func TestHostilePackages(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":       nil,
		"no ar":       []byte("hello, this is no package at all"),
		"no data":     []byte("!<arch>\n"),
		"cut":         deb(t, "data.tar", tar.Header{Name: "x", Typeflag: tar.TypeReg})[:300],
		"compression": deb(t, "data.tar.rar", tar.Header{Name: "x", Typeflag: tar.TypeReg}),
		"device":      deb(t, "data.tar", tar.Header{Name: "x", Typeflag: tar.TypeChar}),
		"escape": deb(t, "data.tar", tar.Header{Name: "d", Typeflag: tar.TypeSymlink, Linkname: "../.."},
			tar.Header{Name: "d/escaped", Typeflag: tar.TypeReg}),
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, "x.deb")
		if err := writeFile(file, b); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(dir, "a", "b")
		if err := os.MkdirAll(out, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := extract(file, out); err == nil {
			t.Errorf("%s: no error", name)
		}
		if _, err := os.Stat(filepath.Join(dir, "escaped")); err == nil {
			t.Errorf("%s: wrote outside of its folder", name)
		}
	}
}

func FuzzDataTar(f *testing.F) {
	f.Add([]byte("!<arch>\ndata.tar        0           0     0     100644  4         `\nabcd"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := dataTar(bytes.NewReader(b))
		if err != nil {
			return
		}
		for range 10 {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	})
}
