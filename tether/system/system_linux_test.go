package system

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"
)

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFindDisk(t *testing.T) {
	sys := t.TempDir()
	if _, err := findBus(sys); err == nil {
		t.Error("a bus without any")
	}
	put(t, filepath.Join(sys, "class/scsi_host/host0/proc_name"), "ata_piix\n")
	put(t, filepath.Join(sys, "class/scsi_host/host1/proc_name"), "vmw_pvscsi\n")
	put(t, filepath.Join(sys, "class/scsi_host/host1/scan"), "")
	put(t, filepath.Join(sys, "bus/scsi/devices/1:0:2:0/block/null/size"), "1") // any device that every machine has
	put(t, filepath.Join(sys, "bus/scsi/devices/0:0:3:0/block/null/size"), "1")
	b, err := findBus(sys)
	if err != nil || b.host != "host1" {
		t.Fatalf("%+v %v", b, err)
	}
	if dev, err := b.Disk(t.Context(), 2); dev != "/dev/null" || err != nil {
		t.Errorf("unit 2: %q %v", dev, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if dev, err := b.Disk(ctx, 3); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "scsi0:3") {
		t.Errorf("a unit of another bus: %q %v", dev, err)
	}
}

func TestWhatIsOnADisk(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	for _, c := range []struct {
		at           int64
		text         string
		ext4, isZero bool
	}{{0, "\x00", false, true}, {0x438, "\x53\xef", true, false}, {99, "x", false, false}} {
		if err := os.WriteFile(name, make([]byte, 2<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte(c.text), c.at); err != nil {
			t.Fatal(err)
		}
		f.Close()
		is, err := Ext4(name)
		if err != nil || is != c.ext4 {
			t.Errorf("%q at %d: ext4 %v %v", c.text, c.at, is, err)
		}
		zero, err := Blank(name)
		if err != nil || zero != c.isZero {
			t.Errorf("%q at %d: blank %v %v", c.text, c.at, zero, err)
		}
	}
}

func TestMeminfo(t *testing.T) {
	got := parseMeminfo("MemTotal:         223640 kB\nMemFree: 1 kB\nMemAvailable:     189292 kB\nbad\n")
	if got != (Memory{Total: 223640 << 10, Available: 189292 << 10}) {
		t.Errorf("%+v", got)
	}
}

func TestLease(t *testing.T) {
	ack, err := dhcpv4.New(
		dhcpv4.WithYourIP(net.IPv4(10, 1, 2, 3)), dhcpv4.WithNetmask(net.CIDRMask(20, 32)), dhcpv4.WithRouter(net.IPv4(10, 1, 0, 1)),
		dhcpv4.WithDNS(net.IPv4(10, 1, 0, 2), net.IPv4(10, 1, 0, 3)), dhcpv4.WithLeaseTime(600), dhcpv4.WithOption(dhcpv4.OptDomainName("lab.test")))
	if err != nil {
		t.Fatal(err)
	}
	got := lease(&nclient4.Lease{ACK: ack})
	got.raw = nil
	want := Lease{Address: "10.1.2.3/20", Gateway: "10.1.0.1", DNS: []string{"10.1.0.2", "10.1.0.3"}, Search: []string{"lab.test"}, Time: 10 * time.Minute}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(Lease{})); d != "" {
		t.Error(d)
	}
	bare, err := dhcpv4.New(dhcpv4.WithYourIP(net.IPv4(10, 1, 2, 3)))
	if err != nil {
		t.Fatal(err)
	}
	if got := lease(&nclient4.Lease{ACK: bare}); got.Address != "10.1.2.3/8" || got.Time != defaultLeaseTime || got.Gateway != "" {
		t.Errorf("a bare answer: %+v", got)
	}
}

// TestMakeInRoot: links of the image lead nowhere outside of its root.
func TestMakeInRoot(t *testing.T) {
	top := t.TempDir()
	root := filepath.Join(top, "root")
	put(t, filepath.Join(root, "real/file"), "x")
	for name, target := range map[string]string{"abs": "/real", "up": "../../../../..", "loop": "loop", "tofile": "real/file"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for in, want := range map[string]string{
		"/":             "",
		"/new/a/b":      "/new/a/b",
		"abs/x":         "/real/x",
		"/up/escaped":   "/escaped",
		"/../../escape": "/escape",
		"/a/../b":       "/b",
	} {
		got, err := MakeInRoot(root, in)
		if err != nil || got != root+want {
			t.Errorf("%s: got %s %v, want %s", in, got, err, root+want)
			continue
		}
		if st, err := os.Stat(got); err != nil || !st.IsDir() {
			t.Errorf("%s: %v", in, err)
		}
	}
	for _, in := range []string{"/loop/x", "/tofile", "/real/file/x"} {
		if got, err := MakeInRoot(root, in); err == nil {
			t.Errorf("%s: no error, %s", in, got)
		}
	}
	if left, _ := os.ReadDir(top); len(left) != 1 {
		t.Errorf("made outside of the root: %v", left)
	}
}

func TestCopyIfEmpty(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	put(t, filepath.Join(from, "d/file"), "contents")
	if err := os.Chmod(filepath.Join(from, "d/file"), 0o640|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(from, "d/file"), filepath.Join(from, "z")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(from, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1e9, 0)
	for _, n := range []string{"d", "."} {
		if err := os.Chtimes(filepath.Join(from, n), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(from, 0o710); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(to, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := CopyIfEmpty(from, to); err != nil {
		t.Fatal(err)
	}
	a, err := os.Stat(filepath.Join(to, "d/file"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Stat(filepath.Join(to, "z"))
	if err != nil || !os.SameFile(a, b) || a.Mode() != 0o640|os.ModeSetgid {
		t.Errorf("hard link or mode lost: %v %v", a.Mode(), err)
	}
	if l, err := os.Readlink(filepath.Join(to, "link")); l != "/nowhere" || err != nil {
		t.Errorf("link: %q %v", l, err)
	}
	if st, err := os.Lstat(filepath.Join(to, "fifo")); err != nil || st.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("fifo: %v", err)
	}
	for _, n := range []string{"d", "."} {
		if st, err := os.Stat(filepath.Join(to, n)); err != nil || !st.ModTime().Equal(old) {
			t.Errorf("time of %s: %v", n, st.ModTime())
		}
	}
	if st, _ := os.Stat(to); st.Mode().Perm() != 0o710 {
		t.Errorf("mode of the top %v", st.Mode())
	}
	put(t, filepath.Join(from, "later"), "x")
	if err := CopyIfEmpty(from, to); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, "later")); err == nil {
		t.Error("copied into a volume that holds something")
	}
}

// TestOpenSerial uses a terminal, which has the same line discipline.
func TestOpenSerial(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer slave.Close()
	f, err := OpenSerial(slave.Name())
	if err != nil {
		t.Fatal(err)
	}
	text := "\x00\x03\x04\x11\x13\r\n\xff\x7f"
	if _, err := io.WriteString(f, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(master, got); err != nil || string(got) != text {
		t.Errorf("out: %q %v", got, err)
	}
	if _, err := io.WriteString(master, text); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(f, got); err != nil || string(got) != text {
		t.Errorf("in: %q %v", got, err)
	}
	ended := make(chan error, 1)
	go func() { _, err := f.Read(got); ended <- err }()
	f.Close()
	if err := <-ended; err == nil {
		t.Error("a read after Close")
	}
	if _, err := OpenSerial("/dev/null"); err == nil {
		t.Error("/dev/null is no serial port")
	}
}

func TestRootMountsAreInOrder(t *testing.T) {
	for _, privileged := range []bool{false, true} {
		seen := map[string]bool{"/r": true}
		for _, m := range rootMounts("/r", RootOptions{Privileged: privileged}) {
			if m.Target == "/r/dev" || m.Target == "/r/sys" || m.Target == "/r/proc" {
				seen[m.Target] = true
			}
			top := "/r/" + strings.Split(m.Target, "/")[2]
			if !seen[top] {
				t.Errorf("%s before %s", m.Target, top)
			}
			ro := m.Flags&unix.MS_RDONLY != 0
			if strings.HasPrefix(m.Target, "/r/sys") && ro == privileged {
				t.Errorf("privileged %v: %s read-only %v", privileged, m.Target, ro)
			}
			if m.Target == "/r/dev/shm" && m.Data != "mode=1777,size=67108864" {
				t.Errorf("shm %q", m.Data)
			}
		}
	}
}

func TestNoShm(t *testing.T) {
	for _, none := range []bool{false, true} {
		there := false
		for _, m := range rootMounts("/r", RootOptions{NoShm: none}) {
			there = there || m.Target == "/r/dev/shm"
		}
		if there == none {
			t.Errorf("without shm %v: mounted %v", none, there)
		}
	}
}
