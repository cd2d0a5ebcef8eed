package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

func TestAbsolute(t *testing.T) {
	for in, want := range map[string]string{
		"/etc": "/etc", "etc": "/etc", "/etc/": "/etc/", "/etc/.": "/etc/.", "/": "/", ".": "/.", "/.": "/.", "": "/",
		"../../etc/../x": "/x", "/a/./b/..": "/a", "a//b/": "/a/b/",
	} {
		if got := absolute(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestRebase(t *testing.T) {
	for _, tt := range [][3]string{
		{"etc", ".", "etc"}, {"etc", "a/b", "etc/a/b"}, {".", ".", "."}, {".", "a", "./a"}, {"/", ".", ""}, {"/", "bin", "/bin"},
	} {
		if got := rebase(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%q in %q is %q, want %q", tt[1], tt[0], got, tt[2])
		}
	}
}

// tree makes files below a new folder: "dir/", "file=text", "link->target",
// "hard==first".
func tree(t *testing.T, list ...string) string {
	t.Helper()
	root := t.TempDir()
	grow(t, root, list...)
	return root
}

func grow(t *testing.T, root string, list ...string) {
	t.Helper()
	for _, e := range list {
		var err error
		switch {
		case strings.HasSuffix(e, "/"):
			err = os.MkdirAll(filepath.Join(root, e), 0o755)
		case strings.Contains(e, "->"):
			name, target, _ := strings.Cut(e, "->")
			err = os.Symlink(target, filepath.Join(root, name))
		case strings.Contains(e, "=="):
			name, first, _ := strings.Cut(e, "==")
			err = os.Link(filepath.Join(root, first), filepath.Join(root, name))
		default:
			name, text, _ := strings.Cut(e, "=")
			err = os.WriteFile(filepath.Join(root, name), []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listed is a tar in one line.
func listed(t *testing.T, r io.Reader) string {
	t.Helper()
	var out []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		s := h.Name
		switch h.Typeflag {
		case tar.TypeReg:
			s += "=" + string(text)
		case tar.TypeSymlink:
			s += "->" + h.Linkname
		case tar.TypeLink:
			s += "==" + h.Linkname
		}
		out = append(out, s)
	}
}

func TestGet(t *testing.T) {
	root := tree(t, "etc/", "etc/sub/", "etc/a=1", "etc/b==etc/a", "etc/sub/c=3", "etc/l->a", "lib->etc", "up->../../../x")
	if err := unix.Mkfifo(filepath.Join(root, "etc/pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{
		{"/etc", "etc/ etc/a=1 etc/b==etc/a etc/l->a etc/pipe etc/sub/ etc/sub/c=3"},
		{"/etc/", "etc/ etc/a=1 etc/b==etc/a etc/l->a etc/pipe etc/sub/ etc/sub/c=3"},
		{"/etc/sub/.", "./ ./c=3"},
		{"/etc/a", "a=1"},
		{"/etc/pipe", "pipe"},
		{"/lib", "lib->etc"},
		{"/lib/", "lib/ lib/a=1 lib/b==lib/a lib/l->a lib/pipe lib/sub/ lib/sub/c=3"},
		{"/up", "up->../../../x"},
	} {
		var b bytes.Buffer
		if err := do(root, Job{FileRequest: spec.FileRequest{Op: spec.FileOpGet, Path: tt.path}}, nil, &b); err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		if _, err := b.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if got := listed(t, &b); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.path, got, tt.want)
		}
	}
	for _, bad := range []string{"/no", "/etc/a/x", "/etc/a/"} {
		if err := do(root, Job{FileRequest: spec.FileRequest{Op: spec.FileOpGet, Path: bad}}, nil, io.Discard); err == nil {
			t.Errorf("%s was packed", bad)
		}
	}
}

func TestStat(t *testing.T) {
	root := tree(t, "etc/", "etc/a=1", "l->etc/a", "abs->/etc", "gone->/nowhere/x", "up->../../../../etc/a")
	for path, want := range map[string]spec.FileStat{
		"/etc/a": {Name: "a", Size: 1}, "/l": {Name: "l", LinkTarget: "/etc/a"}, "/abs": {Name: "abs", LinkTarget: "/etc"},
		"/gone": {Name: "gone", LinkTarget: "/nowhere/x"}, "/up": {Name: "up", LinkTarget: "/etc/a"}, "/etc/.": {Name: "."}, "/": {Name: "/"},
	} {
		var b bytes.Buffer
		if err := do(root, Job{FileRequest: spec.FileRequest{Op: spec.FileOpStat, Path: path}}, nil, &b); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		var got spec.FileStat
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Name != want.Name || got.LinkTarget != want.LinkTarget || want.Size != 0 && got.Size != want.Size {
			t.Errorf("%s: %+v", path, got)
		}
		if isLink := got.Mode&fs.ModeSymlink != 0; isLink != (want.LinkTarget != "") {
			t.Errorf("%s: mode %v", path, got.Mode)
		}
	}
}

// packed makes a tar; owners are the test's own, as it may not have privileges.
func packed(t *testing.T, list ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		text := h.Linkname
		if h.Typeflag == tar.TypeReg {
			h.Linkname, h.Size = "", int64(len(text))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		h.Uid, h.Gid = os.Getuid(), os.Getgid()
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// Entries of an archive.
func file(name, text string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: text, ModTime: time.Unix(1e9, 0)}
}
func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func hard(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

func TestPut(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		no         bool
		in         []tar.Header
		want, err  string // what is there then, how it fails
	}{
		{name: "new", path: "/", in: []tar.Header{dir("d/"), file("d/f", "x"), link("d/l", "f"), hard("d/h", "d/f")},
			want: "d/ d/f=x d/h==d/f d/l->f etc/ etc/a=1 lib->etc"},
		{name: "implied folder", path: "/etc", in: []tar.Header{file("x/y/z", "x")}, want: "etc/ etc/a=1 etc/x/ etc/x/y/ etc/x/y/z=x lib->etc"},
		{name: "over a link", path: "/lib", in: []tar.Header{file("b", "2")}, want: "etc/ etc/a=1 etc/b=2 lib->etc"},
		{name: "replaced", path: "/etc", in: []tar.Header{dir("a/"), file("a/b", "2")}, want: "etc/ etc/a/ etc/a/b=2 lib->etc"},
		{name: "folder by file", path: "/", in: []tar.Header{file("etc", "2")}, want: "etc=2 lib->etc"},
		{name: "folder not by file", path: "/", no: true, in: []tar.Header{file("etc", "2")}, want: "etc/ etc/a=1 lib->etc", err: "cannot overwrite directory"},
		{name: "file not by folder", path: "/etc", no: true, in: []tar.Header{dir("a/")}, want: "etc/ etc/a=1 lib->etc", err: "cannot overwrite non-directory"},
		{name: "merged", path: "/", no: true, in: []tar.Header{dir("./"), dir("etc/"), file("etc/b", "2")}, want: "etc/ etc/a=1 etc/b=2 lib->etc"},
		{name: "climbs", path: "/etc", in: []tar.Header{file("ok", ""), file("../x", "2")}, want: "etc/ etc/a=1 etc/ok= lib->etc", err: "outside"},
		{name: "absolute stays", path: "/etc", in: []tar.Header{file("/../../b", "2")}, want: "etc/ etc/a=1 etc/b=2 lib->etc"},
		{name: "link climbs", path: "/etc", in: []tar.Header{link("up", "../lib")}, want: "etc/ etc/a=1 lib->etc", err: "invalid symlink"},
		{name: "hard link climbs", path: "/etc", in: []tar.Header{hard("up", "../lib")}, want: "etc/ etc/a=1 lib->etc", err: "invalid hardlink"},
		{name: "link beside", path: "/etc", in: []tar.Header{link("up", "../etcetera")}, want: "etc/ etc/a=1 lib->etc", err: "invalid symlink"},
		{name: "through its own link", path: "/etc", in: []tar.Header{link("l", "/"), hard("m", "l"), file("m/x", "2")}, want: "etc/ etc/a=1 etc/l->/ etc/m->/ lib->etc", err: "outside"},
		{name: "link to another name", path: "/etc", in: []tar.Header{link("l", "/"), hard("h", "l/bin/sh")}, want: "etc/ etc/a=1 etc/l->/ lib->etc", err: "invalid hardlink"},
		{name: "link inside", path: "/etc", in: []tar.Header{dir("d/"), link("l", "d"), file("l/x", "2")}, want: "etc/ etc/a=1 etc/d/ etc/d/x=2 etc/l->d lib->etc"},
		{name: "unknown type", path: "/etc", in: []tar.Header{{Typeflag: 'V', Name: "v"}}, want: "etc/ etc/a=1 lib->etc", err: "unhandled tar header type"},
		{name: "not a folder", path: "/etc/a", want: "etc/ etc/a=1 lib->etc", err: "not a directory"},
		{name: "nowhere", path: "/no", want: "etc/ etc/a=1 lib->etc", err: "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := tree(t, "etc/", "etc/a=1", "lib->etc")
			j := Job{FileRequest: spec.FileRequest{Op: spec.FileOpPut, Path: tt.path, NoOverwriteDirNonDir: tt.no}, UID: os.Getuid(), GID: os.Getgid()}
			err := files{root}.put(j, packed(t, tt.in...))
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if got := all(t, root); got != tt.want {
				t.Errorf("then there is\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// all lists what is in a folder.
func all(t *testing.T, root string) string {
	t.Helper()
	var b bytes.Buffer
	if err := (files{root}).export(&b); err != nil {
		t.Fatal(err)
	}
	return listed(t, &b)
}

// TestPutDescribes: modes with their special bits, times, and holes.
func TestPutDescribes(t *testing.T) {
	root := tree(t, "etc/")
	f := file("f", strings.Repeat("\x00", 1<<20)+"end")
	f.Mode = 0o4750
	d := dir("d/")
	d.ModTime = time.Unix(1e9, 0)
	tail := file("d/tail", "x"+strings.Repeat("\x00", 2<<20-1))
	if err := (files{root}).put(Job{FileRequest: spec.FileRequest{Path: "/etc"}}, packed(t, d, f, tail)); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(root, "etc/f"), &st); err != nil || st.Mode&0o7777 != 0o4750 || st.Mtim.Sec != 1e9 || st.Size != 1<<20+3 {
		t.Errorf("%+v %v", st, err)
	}
	if st.Blocks*512 > 1<<19 {
		t.Errorf("%d bytes are allocated for a hole", st.Blocks*512)
	}
	if err := unix.Lstat(filepath.Join(root, "etc/d/tail"), &st); err != nil || st.Size != 2<<20 {
		t.Errorf("a file that ends in a hole: %+v %v", st, err)
	}
	if err := unix.Lstat(filepath.Join(root, "etc/d"), &st); err != nil || st.Mtim.Sec != 1e9 {
		t.Errorf("a folder in which a file came: %+v %v", st, err)
	}
}

// TestPutHalf: what was whole stays.
func TestPutHalf(t *testing.T) {
	root := tree(t, "etc/")
	in := packed(t, file("whole", "all"), file("half", strings.Repeat("x", 5000))).Bytes()
	err := files{root}.put(Job{FileRequest: spec.FileRequest{Path: "/etc"}}, bytes.NewReader(in[:2000]))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a tar: %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(root, "etc/whole")); string(text) != "all" {
		t.Errorf("what was whole: %q %v", text, err)
	}
}

func TestGrowingFile(t *testing.T) {
	root := tree(t, "f="+strings.Repeat("x", 100))
	var b bytes.Buffer
	p := newPacker(&b)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: "f", Size: 100}
	var st unix.Stat_t
	for _, content := range []string{strings.Repeat("y", 200), "z"} {
		if err := p.write(root, "f", h, &st, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.tw.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, &b), "f="+strings.Repeat("y", 100)+" f=z"+strings.Repeat("\x00", 99); got != want {
		t.Errorf("%q", got)
	}
}

func TestChanges(t *testing.T) {
	root := tree(t, "lower/", "lower/etc/", "lower/etc/a=1", "lower/bin/", "lower/bin/sh=1", "lower/same/", "lower/same/deep/",
		"upper/", "upper/etc/", "upper/etc/a=2", "upper/etc/hosts=", "upper/new/", "upper/new/f=1", "upper/same/", "upper/same/deep/", "upper/same/deep/x=1",
		"upper/proc/", "upper/bin/", "upper/bin/sh->dash", "upper/log=x")
	// Folders that were copied up for something below them have the image's times.
	for _, p := range []string{"etc", "same", "same/deep", "bin"} {
		at := time.Unix(1e9, 0)
		for _, side := range []string{"lower", "upper"} {
			if err := os.Chtimes(filepath.Join(root, side, p), at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chtimes(filepath.Join(root, "upper/etc"), time.Time{}, time.Unix(2e9, 0)); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := files{root}.changes(func(c spec.FileChange) error {
		got = append(got, fmt.Sprintf("%c %s", "CAD"[c.Kind], c.Path))
		return nil
	})
	want := []string{"C /bin/sh", "C /etc", "C /etc/a", "A /log", "A /new", "A /new/f", "C /same/deep", "A /same/deep/x"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v\nwant %v", got, err, want)
	}
	var b bytes.Buffer
	if err := (files{root}).layer(&b); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, &b), "bin/ bin/sh->dash etc/ etc/a=2 log=x new/ new/f=1 same/ same/deep/ same/deep/x=1"; got != want {
		t.Errorf("layer\n%s\nwant\n%s", got, want)
	}
}

func TestFailure(t *testing.T) {
	for _, err := range []error{invalid("container rootfs is marked read-only"), &fs.PathError{Op: "lstat", Path: "/x", Err: unix.ENOENT}, errors.New("other")} {
		text, jerr := json.Marshal(failureOf(err))
		if jerr != nil {
			t.Fatal(jerr)
		}
		got := ended(spec.ExitStatus{Code: 1}, text)
		if got == nil || got.Error() != err.Error() {
			t.Errorf("%v became %v", err, got)
		}
	}
	if err := ended(spec.ExitStatus{Code: 2}, []byte("panic")); err == nil || !strings.Contains(err.Error(), "panic") {
		t.Errorf("a process that fell over: %v", err)
	}
}

// FuzzPut: no archive leads out of the folder, whatever it says.
func FuzzPut(f *testing.F) {
	t := &testing.T{} // for packed, which cannot fail here
	f.Add(packed(t, dir("d/"), file("d/f", "x"), link("d/l", "f"), hard("d/h", "d/f")).Bytes())
	f.Add(packed(t, link("l", "/"), file("l/x", "2")).Bytes())
	f.Add(packed(t, file("../../outside/x", "2"), link("a", "..")).Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		root := tree(t, "outside/", "outside/f=1", "in/")
		_ = files{root}.put(Job{FileRequest: spec.FileRequest{Path: "/in"}, UID: os.Getuid(), GID: os.Getgid()}, bytes.NewReader(text))
		if err := os.RemoveAll(filepath.Join(root, "in")); err != nil {
			t.Fatal(err)
		}
		if got := all(t, root); got != "outside/ outside/f=1" {
			t.Errorf("outside of the folder there is now %s", got)
		}
	})
}
