//go:build vm

package session_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/isos"
	"github.com/vic-engine/vic/pkg/disk/ext4"
	"github.com/vic-engine/vic/pkg/disk/layers"
	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

const vmID = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58"

// bootDisks are a blank read-write disk and an image disk with busybox in it.
func bootDisks(t *testing.T) []machine.Disk {
	t.Helper()
	dir := t.TempDir()
	tree, err := isos.Cache{Dir: "../../.cache", Log: logrus.NewEntry(logrus.New())}.Package(t.Context(), "busybox-static")
	if err != nil {
		t.Fatal(err)
	}
	program, err := fs.ReadFile(tree, "bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, h := range []tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
		{Name: "bin/sh", Typeflag: tar.TypeLink, Linkname: "bin/busybox", Mode: 0o755},
		{Name: "bin/cat", Typeflag: tar.TypeLink, Linkname: "bin/busybox", Mode: 0o755},
		{Name: "bin/stty", Typeflag: tar.TypeLink, Linkname: "bin/busybox", Mode: 0o755},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(program); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	merged, err := layers.Merge(t.Context(), []layers.Layer{{Name: "test", Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer.Bytes())), nil
	}}}, layers.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	disk := func(name string, write func(*os.File) error) string {
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err == nil {
			err = write(f)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", path, path+".vmdk").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return path + ".vmdk"
	}
	image := disk("image", func(f *os.File) error { _, err := ext4.WriteImage(t.Context(), f, merged, nil); return err })
	const size = 256 << 20
	blank := disk("rw", func(f *os.File) error {
		return errors.Join(f.Truncate(size), ext4.WriteBlank(f, size, ext4.BlankOptions{}))
	})
	return []machine.Disk{{Path: blank, Unit: 0}, {Path: image, Unit: 1, Nonpersistent: true}}
}

// vmEngine is the concentrator's part on a VM's line.
type vmEngine struct {
	t    *testing.T
	ctx  context.Context
	vm   *qemutest.VM
	key  ssh.Signer
	link *tetherproto.Link
	stop func()

	mu      sync.Mutex // guards reports
	reports []tetherproto.Report
}

// dial takes the line's next connection for the link, or for a new one.
func (e *vmEngine) dial(fresh bool) {
	e.t.Helper()
	s := tetherproto.NewStream(e.vm.Line(0))
	hello, err := tetherproto.Greet(e.ctx, s)
	if err != nil {
		e.t.Fatal(err)
	}
	if fresh {
		e.link = tetherproto.NewLink(tetherproto.LinkConfig{KeepAlive: 30 * time.Second})
	} else if !e.link.Matches(hello) {
		e.t.Errorf("the guest does not go on with the link: %+v", hello)
	}
	link, done := e.link, make(chan struct{})
	go func() { defer close(done); _ = link.Run(e.ctx, s, &hello) }()
	e.stop = func() { _ = s.Close(); <-done }
}

// connect is a new engine.
func (e *vmEngine) connect() *tetherproto.Client {
	e.t.Helper()
	e.dial(true)
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(e.vm.Guest.Keys()[guestinfo.KeyHostKey]))
	if err != nil {
		e.t.Fatal(err)
	}
	begin := time.Now()
	c, err := tetherproto.NewClient(e.ctx, e.link, tetherproto.ClientConfig{Signer: e.key, HostKey: host, Report: func(r tetherproto.Report) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.reports = append(e.reports, r)
	}})
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Logf("handshake took %v", time.Since(begin).Round(time.Millisecond))
	return c
}

// TestLineOfAVM is the whole line with a real guest, UART and kernel: attach,
// bulk both ways, a network that is cut, an engine that is replaced, exec with a
// terminal, signal and exit.
func TestLineOfAVM(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := isos.New(isos.Config{Root: "../..", Log: logrus.NewEntry(logrus.New())})
	if err != nil {
		t.Fatal(err)
	}
	iso, err := b.Write(ctx, isos.Bootstrap(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	keys, err := guestinfo.EncodeContainer(spec.Container{
		ID: vmID, Name: "line", Repo: "busybox", Root: spec.Root{ImageUnit: 1},
		Process:       spec.Process{Path: "/bin/cat", Attach: true, OpenStdin: true},
		AuthorizedKey: string(ssh.MarshalAuthorizedKey(signer.PublicKey())),
	})
	if err != nil {
		t.Fatal(err)
	}
	vm := qemutest.Boot(t, qemutest.Options{ISO: iso, Console: 2, Disks: bootDisks(t), GuestInfo: keys})
	go func() { _, _ = io.Copy(io.Discard, vm.Line(1)) }() // ends with the VM
	e := &vmEngine{t: t, ctx: ctx, vm: vm, key: signer}
	client := e.connect()
	if _, err := client.Release(ctx); err != nil {
		t.Fatal(err)
	}

	in, w := io.Pipe()
	r, out := io.Pipe()
	go func() { _ = client.Attach(ctx, spec.Streams{Stdin: in, Stdout: out}) }()
	echo := func(data []byte, meanwhile func()) time.Duration {
		t.Helper()
		begin := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = w.Write(data) })
		if meanwhile != nil {
			wg.Go(meanwhile)
		}
		got := make([]byte, len(data))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("echo of %d bytes: equal %v, %v", len(data), bytes.Equal(got, data), err)
		}
		wg.Wait()
		return time.Since(begin)
	}
	echo([]byte("warm"), nil)
	begin := time.Now()
	for range 50 {
		echo([]byte("k"), nil)
	}
	t.Logf("echo of a key: %v", (time.Since(begin) / 50).Round(time.Microsecond))
	data := make([]byte, 100<<10)
	_, _ = rand.Read(data)
	t.Logf("100 KiB there and back: %v", echo(data, nil).Round(time.Millisecond))
	echo(data, func() {
		for range 3 {
			time.Sleep(50 * time.Millisecond)
			e.stop()
			e.dial(false)
		}
	})

	e.stop() // kill -9 of the engine
	go client.Close()
	client = e.connect()
	var text bytes.Buffer
	exit, err := client.Exec(ctx, "e1", spec.Process{Path: "/bin/sh", Args: []string{"-c", "stty size; ulimit -n; exit 5"}, Env: []string{"PATH=/bin"}, TTY: true, Rows: 11, Cols: 22},
		spec.Streams{Stdout: &text}, nil)
	if exit.Code != 5 || err != nil || text.String() != "11 22\r\n1048576\r\n" {
		t.Errorf("exec: %+v %v %q", exit, err, text.String())
	}
	if err := client.Signal(ctx, "", "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	vm.WaitOff(time.Minute)
	e.mu.Lock()
	defer e.mu.Unlock()
	last := e.reports[len(e.reports)-1]
	if last.Kind != tetherproto.ReportExited || last.Exit.Code != 143 {
		t.Errorf("last report %+v", last)
	}
	if st, err := guestinfo.DecodeStatus(vmID, vm.Guest.Keys()); err != nil || st.Exit.Code != 143 || st.Running {
		t.Errorf("guestinfo %+v %v", st, err)
	}
}
