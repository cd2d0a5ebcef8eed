package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// tarOf builds a layer from lines such as "dir/", "file=content",
// "link->target", "hard=>target", "x.wh.…" being ordinary empty files.
func tarOf(t testing.TB, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, l := range lines {
		h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(1000, 0), Format: tar.FormatPAX}
		body := ""
		switch {
		case strings.Contains(l, "=>"):
			h.Name, h.Linkname, _ = strings.Cut(l, "=>")
			h.Typeflag = tar.TypeLink
		case strings.Contains(l, "->"):
			h.Name, h.Linkname, _ = strings.Cut(l, "->")
			h.Typeflag = tar.TypeSymlink
		case strings.Contains(l, "="):
			h.Name, body, _ = strings.Cut(l, "=")
			h.Size = int64(len(body))
		case strings.HasSuffix(l, "/"):
			h.Name, h.Typeflag, h.Mode = l, tar.TypeDir, 0o750
		default:
			h.Name = l
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layersOf(tars ...[]byte) []Layer {
	var ls []Layer
	for i, b := range tars {
		ls = append(ls, Layer{Name: fmt.Sprint(i), Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(b)), nil
		}})
	}
	return ls
}

// flatten joins the layers and gives the result's lines in tarOf's form, in
// the stream's order.
func flatten(t testing.TB, tars ...[]byte) []string {
	t.Helper()
	tree, err := Merge(context.Background(), layersOf(tars...), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tree.Write(context.Background(), &b, nil); err != nil {
		t.Fatal(err)
	}
	var lines []string
	r := tar.NewReader(&b)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		l := h.Name
		switch h.Typeflag {
		case tar.TypeLink:
			l += "=>" + h.Linkname
		case tar.TypeSymlink:
			l += "->" + h.Linkname
		case tar.TypeReg:
			body, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			if len(body) > 0 {
				l += "=" + string(body)
			}
		}
		lines = append(lines, l)
	}
}

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]string
		want   []string
	}{
		"one layer": {
			[][]string{{"a/", "a/f=1", "l->a/f", "empty"}},
			[]string{"./", "a/", "empty", "l->a/f", "a/f=1"},
		},
		"upper file wins": {
			[][]string{{"f=old", "g=keep"}, {"f=new"}},
			[]string{"./", "g=keep", "f=new"},
		},
		"file whiteout": {
			[][]string{{"d/", "d/f=1", "d/g=2"}, {"d/.wh.f"}},
			[]string{"./", "d/", "d/g=2"},
		},
		"directory whiteout": {
			[][]string{{"d/", "d/e/", "d/e/f=1"}, {"d/.wh.e"}},
			[]string{"./", "d/"},
		},
		"whiteout spares its own layer, in any order": {
			[][]string{{"d/", "d/old=1"}, {"d/new=2", ".wh.d"}, {".wh.x", "x=3"}},
			[]string{"./", "d/", "d/new=2", "x=3"},
		},
		"opaque": {
			[][]string{{"d/", "d/old=1", "d/sub/", "d/sub/x=1"}, {"d/", "d/first=2", "d/.wh..wh..opq", "d/last=3"}},
			[]string{"./", "d/", "d/first=2", "d/last=3"},
		},
		"whiteout of nothing": {
			[][]string{{"a=1"}, {".wh.b", "x/y/.wh.z"}},
			[]string{"./", "a=1"},
		},
		"aufs notes are not files": {
			[][]string{{".wh..wh.plnk/", ".wh..wh.plnk/1.2=x", ".wh..wh.aufs", "a=1"}},
			[]string{"./", "a=1"},
		},
		"hard links": {
			[][]string{{"a=1", "b=>a", "d/", "d/c=>b"}},
			[]string{"./", "d/", "a=1", "b=>a", "d/c=>a"},
		},
		"hard link survives its first name": {
			[][]string{{"a=1", "b=>a", "c=>a"}, {"a=new"}, {".wh.b"}},
			[]string{"./", "c=1", "a=new"},
		},
		"hard link to a lower layer": {
			[][]string{{"a=1"}, {"b=>a"}},
			[]string{"./", "a=1", "b=>a"},
		},
		"hard link to a symlink": {
			[][]string{{"s->x", "t=>s"}},
			[]string{"./", "s->x", "t=>s"},
		},
		"directory replaced by file, file by directory": {
			[][]string{{"d/", "d/x=1", "f=1"}, {"d=file", "f/", "f/y=2"}},
			[]string{"./", "f/", "d=file", "f/y=2"},
		},
		"directory again keeps its contents": {
			[][]string{{"d/", "d/x=1"}, {"d/"}},
			[]string{"./", "d/", "d/x=1"},
		},
		"parents that nobody named": {
			[][]string{{"a/b/c=1"}},
			[]string{"./", "a/", "a/b/", "a/b/c=1"},
		},
		"same name twice": {
			[][]string{{"f=1", "f=2"}},
			[]string{"./", "f=2"},
		},
		"names stay inside": {
			[][]string{{"../../etc/passwd=1", "/abs=2", "a/../../b=3", "./c=4", "l=>../../etc/passwd"}},
			[]string{"./", "etc/", "etc/passwd=1", "l=>etc/passwd", "abs=2", "b=3", "c=4"},
		},
		"through a symlink, inside the tree": {
			[][]string{{"usr/", "usr/bin/", "bin->usr/bin", "up->../../../usr", "abs->/usr/bin"}, {"bin/sh=1", "up/x=2", "abs/y=3"}},
			[]string{"./", "abs->/usr/bin", "bin->usr/bin", "up->../../../usr", "usr/", "usr/bin/", "usr/bin/sh=1", "usr/x=2", "usr/bin/y=3"},
		},
		"a symlink's own name is not followed": {
			[][]string{{"t=1", "l->t"}, {"l=2"}},
			[]string{"./", "t=1", "l=2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var tars [][]byte
			for _, l := range c.layers {
				tars = append(tars, tarOf(t, l...))
			}
			if diff := cmp.Diff(c.want, flatten(t, tars...)); diff != "" {
				t.Error("want -, got +\n" + diff)
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	deep := strings.Repeat("abcdefghi/", 400)
	for name, lines := range map[string][]string{
		"symlink loop":        {"a->b", "b->a", "a/x=1"},
		"hard link to none":   {"a=>b"},
		"hard link to a dir":  {"d/", "a=>d"},
		"hard link to root":   {"a=>/"},
		"long name":           {strings.Repeat("x", 256) + "=1"},
		"long directory":      {strings.Repeat("x", 256) + "/f=1"},
		"ext4's name":         {"lost+found=1"},
		"whiteout of parent":  {"d/.wh..."},
		"whiteout of nothing": {"d/.wh."},
		"deep by symlink":     {deep, "l->" + deep, "l/" + deep[:200] + "f=1"},
	} {
		_, err := Merge(context.Background(), layersOf(tarOf(t, lines...)), Limits{})
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cut := tarOf(t, "a=12345")[:600]
	if _, err := Merge(context.Background(), layersOf([]byte("this is not a tar, though it is longer than nothing"), cut), Limits{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("not a tar: %v", err)
	}
}

func TestLimits(t *testing.T) {
	b := tarOf(t, "a=12345", "b=12345")
	for name, lim := range map[string]Limits{"memory": {Memory: 400}, "bytes": {Bytes: 9}} {
		if _, err := Merge(context.Background(), layersOf(b), lim); !errdefs.IsResourceExhausted(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tree, err := Merge(context.Background(), layersOf(b, tarOf(t, "a=1")), Limits{Bytes: 10})
	if err != nil {
		t.Fatal(err)
	}
	if u := tree.Usage(); u.Bytes != 6 || u.Files != 2 || u.Dirs != 1 {
		t.Errorf("usage %+v", u)
	}
	if diff := cmp.Diff([]int64{10, 1}, tree.LayerSizes()); diff != "" {
		t.Error(diff)
	}
}

func TestMetadataIsKept(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	at := time.Unix(1700000000, 123456789)
	in := []*tar.Header{
		{Name: "suid", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 70000, Gid: 12, ModTime: at, PAXRecords: map[string]string{
			paxXattr + "security.capability":   "\x01\x00\x00\x02\x00",
			paxXattr + "user.note":             "a=b\nc",
			paxXattr + "com.apple.provenance":  "x",
			paxXattr + "trusted.overlay.xyz":   "y",
			paxXattr + "system.posix_acl_junk": "y",
		}},
		{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3, ModTime: at},
		{Name: "loop", Typeflag: tar.TypeBlock, Mode: 0o660, Devmajor: 7, Devminor: 300, ModTime: at},
		{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o600, ModTime: at},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777, ModTime: at},
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 3, ModTime: at},
	}
	for _, h := range in {
		h.Format = tar.FormatPAX
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tree, err := Merge(context.Background(), layersOf(b.Bytes()), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"com.apple.provenance": 1, "trusted.overlay.xyz": 1, "system.posix_acl_junk": 1}, tree.Dropped()); diff != "" {
		t.Error(diff)
	}
	var out bytes.Buffer
	if err := tree.Write(context.Background(), &out, nil); err != nil {
		t.Fatal(err)
	}
	got := map[string]*tar.Header{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		got[h.Name] = h
	}
	for _, want := range in {
		h := got[want.Name]
		if h == nil {
			t.Errorf("%s is not there", want.Name)
			continue
		}
		if h.Typeflag != want.Typeflag || h.Mode != want.Mode || h.Uid != want.Uid || h.Gid != want.Gid || !h.ModTime.Equal(at) || h.Devmajor != want.Devmajor || h.Devminor != want.Devminor {
			t.Errorf("%s: %+v", want.Name, h)
		}
	}
	if x := got["suid"].PAXRecords; x[paxXattr+"user.note"] != "a=b\nc" || x[paxXattr+"security.capability"] != "\x01\x00\x00\x02\x00" || x[paxXattr+"com.apple.provenance"] != "" {
		t.Errorf("attributes %q", x)
	}
}

func TestDiskACL(t *testing.T) {
	// user::rw-, user:1000:r--, group::r--, mask::r--, other::---
	in := "\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x02\x00\x04\x00\xe8\x03\x00\x00" +
		"\x04\x00\x04\x00\xff\xff\xff\xff" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff"
	want := "\x01\x00\x00\x00" + "\x01\x00\x06\x00" + "\x02\x00\x04\x00\xe8\x03\x00\x00" + "\x04\x00\x04\x00" + "\x10\x00\x04\x00" + "\x20\x00\x00\x00"
	got, err := diskACL(in)
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"", "\x01\x00\x00\x00", in[:9], "\x02\x00\x00\x00" + "\x03\x00\x06\x00\xff\xff\xff\xff"} {
		if _, err := diskACL(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestCancel(t *testing.T) {
	tree, err := Merge(context.Background(), layersOf(tarOf(t, "a=1")), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := tree.Write(ctx, io.Discard, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Write: %v", err)
	}
	if _, err := Merge(ctx, layersOf(tarOf(t, "a=1")), Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Merge: %v", err)
	}
}

// FuzzMerge flattens two hostile layers. Whatever comes out must itself be
// mergeable to the same tree, with every name inside and parents first.
func FuzzMerge(f *testing.F) {
	f.Add(tarOf(f, "a/", "a/f=1", "l->../..", "b=>a/f"), tarOf(f, "l/x=2", ".wh.a"))
	f.Add(tarOf(f, "../x=1", "d/e/f"), tarOf(f, "d/.wh..wh..opq", "d/e=>x"))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		tree, err := Merge(context.Background(), layersOf(lower, upper), Limits{Memory: 4 << 20, Bytes: 4 << 20})
		if err != nil {
			return
		}
		var one bytes.Buffer
		if err := tree.Write(context.Background(), &one, nil); err != nil {
			return // a content that is cut off
		}
		seen := map[string]bool{}
		for r := tar.NewReader(bytes.NewReader(one.Bytes())); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("our own tar: %v", err)
			}
			name := strings.TrimSuffix(h.Name, "/")
			if seen[name] || strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
				t.Fatalf("name %q", h.Name)
			}
			seen[name] = true
			if i := strings.LastIndexByte(name, '/'); i > 0 && !seen[name[:i]] {
				t.Fatalf("%q comes before its directory", name)
			}
			if h.Typeflag == tar.TypeLink && !seen[h.Linkname] {
				t.Fatalf("%q links to %q, which comes later", name, h.Linkname)
			}
		}
		again, err := Merge(context.Background(), layersOf(one.Bytes()), Limits{})
		if err != nil {
			t.Fatalf("our own tar: %v", err)
		}
		var two bytes.Buffer
		if err := again.Write(context.Background(), &two, nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one.Bytes(), two.Bytes()) {
			t.Fatal("flattening the flattened changes it")
		}
	})
}
