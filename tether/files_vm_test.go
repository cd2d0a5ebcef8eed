//go:build vm

package tether_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/attach"
)

// TestFiles takes files out of a running container and puts some in, as a client
// and as somebody who wants out of it; then the same container in maintenance.
func TestFiles(t *testing.T) {
	signer := signerOf(t)
	c := container(`: > /sparse; busybox truncate -s 20971520 /sparse; echo new > /etc/new; busybox rm /bin/tty; busybox mkdir /made; ` +
		`busybox ln -s /etc/passwd /made/abs; busybox ln /etc/new /made/hard; busybox rm -r /data; busybox mkdir /data; busybox mkfifo /made/fifo; ` +
		`busybox nc -l -s 127.0.0.1 -p 9 & echo ready; while :; do sleep 1; done`)
	c.AuthorizedKey = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	c.Process.User = ""
	c.Mounts = []spec.Mount{
		{Type: spec.MountVolume, Name: "data", Path: "/vol", Unit: 2, ReadOnly: true},
		{Type: spec.MountNFS, Name: "far", Path: "/far", Source: "nfs://192.0.2.1/x"},
	}
	running := c
	running.Mounts = c.Mounts[:1]
	all := append(disks(t), growing(t, 64<<20))
	ctx, cancel := context.WithTimeout(t.Context(), 2*limit)
	defer cancel()

	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: all, GuestInfo: keys(t, running)})
	output := output(t, vm)
	line, err := concentrator(t, vm, signer).Session(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	<-output.some
	filesOut(ctx, t, line)
	filesIn(ctx, t, line)
	if err := line.PowerOff(ctx); !errdefs.IsConflict(err) {
		t.Errorf("power off under a process: %v", err)
	}
	hangUp(ctx, t, line)
	if err := line.Signal(ctx, "", "KILL"); err != nil {
		t.Error(err)
	}
	vm.WaitOff(limit)
	before, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil {
		t.Fatal(err)
	}

	kv := maps.Clone(vm.Guest.Keys())
	maps.Copy(kv, keys(t, c))
	kv[guestinfo.KeyMode] = guestinfo.ModeMaintenance
	vm = qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: all, GuestInfo: kv})
	if line, err = concentrator(t, vm, signer).Session(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	if st, err := line.StatFile(ctx, "/etc/new"); err != nil || st.Size != 4 {
		t.Errorf("in maintenance: %+v %v", st, err)
	}
	if err := line.GetFiles(ctx, "/far", nil); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("an NFS folder in maintenance: %v", err)
	}
	put(ctx, t, line, spec.FileRequest{Path: "/etc"}, tar.Header{Name: "last", Typeflag: tar.TypeReg, Mode: 0o600, Uid: 7}, "kept")
	if err := line.PowerOff(ctx); err != nil && !errdefs.IsUnavailable(err) {
		t.Error(err)
	}
	vm.WaitOff(limit)
	after, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil || after.Exit != before.Exit {
		t.Errorf("the exit became %+v %v, it was %+v", after.Exit, err, before.Exit)
	}
	if out, err := exec.Command("e2fsck", "-fn", rawDisk(t, all[0].Path)).CombinedOutput(); err != nil && !onlyLostFound(string(out)) {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

func filesOut(ctx context.Context, t *testing.T, line *attach.Session) {
	t.Helper()
	begin := time.Now()
	st, err := line.StatFile(ctx, "made/abs")
	if err != nil || st.Name != "abs" || st.LinkTarget != "/etc/passwd" {
		t.Errorf("a link: %+v %v", st, err)
	}
	t.Logf("stat took %v", time.Since(begin).Round(time.Millisecond))
	if _, err := line.StatFile(ctx, "/nowhere"); !errdefs.IsNotFound(err) {
		t.Errorf("nowhere: %v", err)
	}
	if _, err := line.StatFile(ctx, "/dev/null"); !errdefs.IsNotFound(err) {
		t.Errorf("the kernel's filesystems are seen: %v", err)
	}
	if got := tarOf(t, func(w io.Writer) error {
		return line.GetFiles(ctx, "/made/.", func(spec.FileStat) (io.Writer, error) { return w, nil })
	}); got != "./ ./abs->/etc/passwd ./fifo ./hard(4)" {
		t.Errorf("a folder's content: %s", got)
	}
	begin = time.Now()
	var size int64
	err = line.GetFiles(ctx, "/sparse", func(st spec.FileStat) (io.Writer, error) {
		return writer(func(b []byte) (int, error) { size += int64(len(b)); return len(b), nil }), nil
	})
	if err != nil || size < 20<<20 {
		t.Errorf("20 MiB of nothing: %d bytes, %v", size, err)
	}
	t.Logf("20 MiB of zeros took %v", time.Since(begin).Round(time.Millisecond))

	changes, err := line.Changes(ctx)
	var list []string
	for _, c := range changes {
		list = append(list, "CAD"[c.Kind:c.Kind+1]+c.Path)
	}
	want := []string{"C/bin", "D/bin/tty", "C/data", "C/etc", "A/etc/new", "A/made", "A/made/abs", "A/made/fifo", "A/made/hard", "A/sparse", "A/vol"}
	if err != nil || !slices.Equal(list, want) {
		t.Errorf("changes %v %v\nwant    %v", list, err, want)
	}
	export := tarOf(t, func(w io.Writer) error { return line.Export(ctx, w) })
	for _, want := range []string{"bin/busybox(", "etc/new(4)", "etc/passwd(22)", "made/abs->/etc/passwd", "made/hard=etc/new", "proc/ "} {
		if !strings.Contains(export, want) {
			t.Errorf("no %s in the export: %s", want, export)
		}
	}
	if strings.Contains(export, "proc/self") || strings.Contains(export, "tty") || !strings.HasSuffix(export, " vol/") {
		t.Errorf("export has what is mounted, or was removed: %s", export)
	}
	layer := tarOf(t, func(w io.Writer) error { return line.Layer(ctx, w) })
	if want := "bin/ bin/.wh.tty(0) data/ data/.wh..wh..opq(0) etc/ etc/new(4) made/ made/abs->/etc/passwd made/fifo made/hard=etc/new sparse(20971520) vol/"; layer != want {
		t.Errorf("layer %s\nwant  %s", layer, want)
	}
}

func filesIn(ctx context.Context, t *testing.T, line *attach.Session) {
	t.Helper()
	file := tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 1234, Gid: 5678, ModTime: time.Unix(1e9, 0),
		PAXRecords: map[string]string{"SCHILY.xattr.user.who": "me"}}
	put(ctx, t, line, spec.FileRequest{Path: "/etc"}, file, "hello")
	list := run(ctx, t, line, "stat", "-c", "%a %u %g %Y", "/etc/x")
	if list != "4755 1234 5678 1000000000\n" {
		t.Errorf("put: %q", list)
	}
	if text := tarOf(t, func(w io.Writer) error {
		return line.GetFiles(ctx, "/etc/x", func(spec.FileStat) (io.Writer, error) { return w, nil })
	}); text != "x(5)[user.who=me]" {
		t.Errorf("got back %s", text)
	}
	for _, bad := range []struct {
		path, want string
		q          spec.FileRequest
		h          tar.Header
	}{
		{"/vol", "mounted volume is marked read-only", spec.FileRequest{}, file},
		{"/etc/passwd", "not a directory", spec.FileRequest{}, file},
		{"/nowhere", "no such file", spec.FileRequest{}, file},
		{"/made", "outside of", spec.FileRequest{}, tar.Header{Name: "../../../x", Typeflag: tar.TypeReg}},
		{"/made", "invalid symlink", spec.FileRequest{}, tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "../../../run"}},
		{"/made", "invalid hardlink", spec.FileRequest{}, tar.Header{Name: "up", Typeflag: tar.TypeLink, Linkname: "../../run/vic/rw/work"}},
		{"/", "no such file", spec.FileRequest{}, tar.Header{Name: "up", Typeflag: tar.TypeLink, Linkname: "run/vic/rw/work"}},
		{"/", "cannot overwrite directory", spec.FileRequest{NoOverwriteDirNonDir: true}, tar.Header{Name: "bin", Typeflag: tar.TypeReg}},
	} {
		bad.q.Path = bad.path
		err := line.PutFiles(ctx, bad.q, bytes.NewReader(archiveOf(t, bad.h, "")))
		if err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("put %s into %s: %v", bad.h.Name, bad.path, err)
		}
	}
	// A link of the container's that leads to the guest's own files leads nowhere.
	run(ctx, t, line, "busybox", "ln", "-s", "/run/vic/rw", "/made/trap")
	if err := line.PutFiles(ctx, spec.FileRequest{Path: "/made/trap"}, bytes.NewReader(archiveOf(t, file, "hello"))); !errdefs.IsNotFound(err) {
		t.Errorf("put through a link out of the root: %v", err)
	}
	whole := append(archiveOf(t, tar.Header{Name: "whole", Typeflag: tar.TypeReg, Mode: 0o644}, "all")[:1024], archiveOf(t, file, "hello")...)
	err := line.PutFiles(ctx, spec.FileRequest{Path: "/made"}, io.MultiReader(bytes.NewReader(whole[:1600]), broken{}))
	if kept := run(ctx, t, line, "cat", "/made/whole"); err == nil || kept != "all" {
		t.Errorf("half a tar: %v, kept %q", err, kept)
	}
}

// hangUp: an operation whose client is gone ends in the guest too.
func hangUp(ctx context.Context, t *testing.T, line *attach.Session) {
	t.Helper()
	err := line.GetFiles(ctx, "/", func(spec.FileStat) (io.Writer, error) {
		return writer(func([]byte) (int, error) { return 0, errors.New("gone") }), nil
	})
	if err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("write to a client that is gone: %v", err)
	}
	list := run(ctx, t, line, "sh", "-c", `for i in 1 2 3 4 5 6 7 8 9 10; do busybox ps | grep -q '[i]nit archive' || { echo none; exit; }; sleep 0.2; done; busybox ps`)
	if list != "none\n" {
		t.Errorf("processes after it: %s", list)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func archiveOf(t *testing.T, h tar.Header, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	h.Size = int64(len(text))
	if err := w.WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func put(ctx context.Context, t *testing.T, line *attach.Session, q spec.FileRequest, h tar.Header, text string) {
	t.Helper()
	if err := line.PutFiles(ctx, q, bytes.NewReader(archiveOf(t, h, text))); err != nil {
		t.Error(err)
	}
}

// run gives what a command in the container puts out.
func run(ctx context.Context, t *testing.T, line *attach.Session, command ...string) string {
	t.Helper()
	var out, errs bytes.Buffer // one each: they are written at the same time
	_, err := line.Exec(ctx, strings.Join(command, " ")+time.Now().String(), spec.Process{Path: command[0], Args: command[1:], Env: []string{"PATH=/bin"}},
		spec.Streams{Stdout: &out, Stderr: &errs}, func(int) {})
	if err != nil {
		t.Error(err)
	}
	return out.String() + errs.String()
}

// tarOf lists a tar in one line: name, size of files, where links lead, attributes.
func tarOf(t *testing.T, write func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Error(err)
	}
	var out []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(out, " ")
		}
		if err != nil {
			t.Error(err)
			return strings.Join(out, " ")
		}
		s := h.Name
		switch h.Typeflag {
		case tar.TypeReg:
			s += "(" + strconv.FormatInt(h.Size, 10) + ")"
		case tar.TypeSymlink:
			s += "->" + h.Linkname
		case tar.TypeLink:
			s += "=" + h.Linkname
		}
		for k, v := range h.PAXRecords {
			s += "[" + strings.TrimPrefix(k, "SCHILY.xattr.") + "=" + v + "]"
		}
		out = append(out, s)
	}
}
