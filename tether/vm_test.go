//go:build vm

package tether_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
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
	"github.com/vic-engine/vic/pkg/lab/vnet"
	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
)

// These tests boot the images that are built here from the tree as it is.
var built struct{ bootstrap, appliance string }

func TestMain(m *testing.M) {
	code, err := build(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func build(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "tether-vm-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	b, err := isos.New(isos.Config{Root: "..", Log: logrus.NewEntry(logrus.New())})
	if err != nil {
		return 1, err
	}
	if built.bootstrap, err = b.Write(context.Background(), isos.Bootstrap(), dir); err != nil {
		return 1, err
	}
	if built.appliance, err = b.Write(context.Background(), testAppliance(), dir); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// testAppliance has a small program in vic-engine's place: what runs there is
// not this package's matter.
func testAppliance() isos.Manifest {
	m := isos.Appliance()
	for i := range m.Files {
		if m.Files[i].Path == "usr/bin/vic-engine" {
			m.Files[i] = isos.File{Path: m.Files[i].Path, Mode: 0o755, Text: "#!/bin/sh\n" +
				"echo engine $@ begins; grep -c secret /run/vic/vch.json; cat /etc/resolv.conf\n" +
				"[ -e /var/lib/vic/once ] || { touch /var/lib/vic/once; exit 3; }\n" +
				"trap 'echo engine ends; exit 0' TERM; sleep 1000 & wait\n"}
		}
	}
	return m
}

const containerID = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58"

// engineKey is somebody's public key: no engine connects in these tests.
func engineKey() string {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		panic(err)
	}
	return string(ssh.MarshalAuthorizedKey(key))
}

// container runs busybox with a command line.
func container(command string) spec.Container {
	return spec.Container{
		ID: containerID, Name: "test", Repo: "busybox",
		Process:       spec.Process{Path: "/bin/sh", Args: []string{"-c", command}, Env: []string{"PATH=/bin", "HOME=/"}},
		Root:          spec.Root{ImageUnit: 1, UpperUnit: 0},
		AuthorizedKey: engineKey(),
	}
}

func keys(t *testing.T, c spec.Container) map[string]string {
	t.Helper()
	m, err := guestinfo.EncodeContainer(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// disks are a blank read-write disk and an image disk with busybox in it.
func disks(t *testing.T) []machine.Disk {
	t.Helper()
	rw := filepath.Join(t.TempDir(), "rw")
	blank(t, rw, true)
	return []machine.Disk{{Path: vmdk(t, rw), Unit: 0}, imageWith(t, busybox(t))}
}

// imageWith is an image disk of some layers.
func imageWith(t *testing.T, opens ...func() (io.ReadCloser, error)) machine.Disk {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	var all []layers.Layer
	for i, open := range opens {
		all = append(all, layers.Layer{Name: fmt.Sprint("test", i), Open: open})
	}
	tree, err := layers.Merge(t.Context(), all, layers.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := ext4.WriteImage(t.Context(), f, tree, nil); err != nil {
		t.Fatal(err)
	}
	return machine.Disk{Path: vmdk(t, image), Unit: 1, Nonpersistent: true}
}

// blank is a disk of 256 MiB, formatted or not.
func blank(t *testing.T, name string, formatted bool) {
	t.Helper()
	const size = 256 << 20
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if formatted {
		if err := ext4.WriteBlank(f, size, ext4.BlankOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func vmdk(t *testing.T, raw string) string {
	t.Helper()
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, raw+".vmdk").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return raw + ".vmdk"
}

// busybox is a layer with the program and a few names of it.
func busybox(t *testing.T) func() (io.ReadCloser, error) {
	t.Helper()
	tree, err := isos.Cache{Dir: "../.cache", Log: logrus.NewEntry(logrus.New())}.Package(t.Context(), "busybox-static")
	if err != nil {
		t.Fatal(err)
	}
	program, err := fs.ReadFile(tree, "bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	put(tar.Header{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	put(tar.Header{Name: "data/", Typeflag: tar.TypeDir, Mode: 0o750}, nil)
	put(tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}, nil)
	put(tar.Header{Name: "etc/passwd", Typeflag: tar.TypeReg, Mode: 0o644}, []byte("root:x:0:0::/:/bin/sh\n"))
	put(tar.Header{Name: "etc/hosts", Typeflag: tar.TypeSymlink, Linkname: "/proc/self/exe"}, nil)
	put(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
	for _, a := range []string{"sh", "cat", "ls", "mount", "touch", "sleep", "cut", "mkdir", "tty", "hostname", "id", "grep", "ip", "stat", "wget", "true", "echo"} {
		put(tar.Header{Name: "bin/" + a, Typeflag: tar.TypeLink, Linkname: "bin/busybox", Mode: 0o755}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
}

const limit = 5 * time.Minute

func TestContainer(t *testing.T) {
	// The clock is one whose frequency the kernel is told (leastMaxCPUs in package
	// qemu), whatever else the computer does while the VM boots.
	c := container(`echo "to stdout"; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; echo done > /kept; exit 7`)
	begin := time.Now()
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: disks(t), GuestInfo: keys(t, c)})
	output := output(t, vm)
	used := vm.Expect(`memory used ([0-9.]+) MiB`, limit)
	t.Logf("memory used %s MiB, process starts after %v", used[1], time.Since(begin).Round(time.Millisecond))
	vm.Expect(`powering off`, limit)
	vm.WaitOff(limit)
	t.Logf("off after %v", time.Since(begin).Round(time.Millisecond))
	st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil || st.Exit.Code != 7 || st.Exit.Stopped.IsZero() || st.Exit.Error != "" {
		t.Errorf("reported %+v %v", st, err)
	}
	var mib float64
	if _, err := fmt.Sscanf(used[1], "%f", &mib); err != nil || mib > 48 {
		t.Errorf("%s MiB used, 48 allowed", used[1])
	}
	if strings.Contains(vm.Text(), "to stdout") {
		t.Error("the container's output is on the kernel's console")
	}
	if text := <-output.all; text != "to stdout\nhpet\n" {
		t.Errorf("logged %q", text)
	}
}

// logged is what a container wrote, as its log on ttyS1 has it.
type logged struct {
	some chan struct{} // closed at the first output
	all  chan string   // everything, when the VM is off
}

func output(t *testing.T, vm *qemutest.VM) logged {
	line := vm.Line(1)
	l := logged{make(chan struct{}), make(chan string, 1)}
	go func() {
		var b bytes.Buffer
		for r := logframe.NewReader(line); ; {
			f, err := r.Next()
			if err != nil {
				break
			}
			if f.Kind != logframe.KindData {
				continue
			}
			if b.Len() == 0 {
				close(l.some)
			}
			b.Write(f.Data)
		}
		l.all <- b.String()
	}()
	return l
}

func TestNoGuestinfo(t *testing.T) {
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2})
	vm.Expect(`boot failed, powering off error="kind of VM: no guestinfo./kind`, limit)
	vm.WaitOff(limit)
}

func TestMissingDisk(t *testing.T) {
	t.Parallel()
	c := container("true")
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: disks(t)[:1], GuestInfo: keys(t, c)})
	vm.Expect(`boot failed, powering off error="disks: image disk: disk scsi0:1 is not there`, limit)
	vm.WaitOff(limit)
	st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil || st.Exit.Code != spec.ExitGuestFailed || !strings.Contains(st.Exit.Error, "scsi0:1") {
		t.Errorf("reported %+v %v", st, err)
	}
}

// network is the lab's, with DHCP on "VM Network".
func network(t *testing.T) *vnet.Network {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	n, err := vnet.New(vnet.Config{NoForwards: true, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return n
}

// TestRoot looks at a container's surroundings from inside.
func TestRoot(t *testing.T) {
	c := container(`{ id; hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf; ip addr; ip route; mount; ls -l /dev /dev/fd/; ls -A /data; ` +
		`cat /proc/sys/net/ipv4/ip_default_ttl; touch /proc/sys/x; cat /proc/kcore; stat -c %a:%n /data /dev/shm; } 2>&1`)
	c.Hostname, c.Domainname = "box", "example.com"
	c.Hosts = []string{"db:10.0.0.9"}
	c.DNS = spec.DNS{Servers: []string{"10.9.8.7"}, Search: []string{"example.com"}}
	c.Root.Sysctls = map[string]string{"net.ipv4.ip_default_ttl": "77"}
	c.Root.ShmSizeBytes = 1 << 20
	c.Mounts = []spec.Mount{{Type: spec.MountTmpfs, Path: "/scratch", Options: "size=1m,mode=1777"},
		{Type: spec.MountVolume, Name: "vol", Path: "/etc/vol", Unit: 2}}
	c.Endpoints = []spec.Endpoint{
		{Network: "bridge", MAC: "00:50:56:00:00:02", IP: "172.16.0.2/16", Gateway: "172.16.0.1"},
		{Network: "ext", MAC: "00:50:56:00:00:01"}}
	vol := filepath.Join(t.TempDir(), "vol")
	blank(t, vol, true)
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, GuestInfo: keys(t, c), Network: network(t),
		Disks: append(disks(t), machine.Disk{Path: vmdk(t, vol), Unit: 2}),
		NICs: []machine.NIC{{Network: "VM Network", MAC: "00:50:56:00:00:01", Slot: 192},
			{Network: "VCH Bridge", MAC: "00:50:56:00:00:02", Slot: 224}}})
	output := output(t, vm)
	vm.WaitOff(limit)
	st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil || st.Exit.Error != "" {
		t.Errorf("reported %+v %v", st, err)
	}
	text := <-output.all
	for _, want := range []string{
		`uid=0`, `box\n`, `172.16.0.2\tbox.example.com box`, `10.0.0.9\tdb`, `nameserver 10.9.8.7`, `search example.com`,
		`inet 127.0.0.1/8 .*lo`, `inet 172.16.0.2/16 .*eth0`, `inet 10.118.0.1\d/24 .*eth1`, `default via 172.16.0.1 dev eth0`,
		`overlay on / type overlay`, `tmpfs on /scratch type tmpfs .*size=1024k`, `/dev/sdc on /etc/vol type ext4`,
		`proc on /proc/sys type proc \(ro`, `crw-rw-rw- .* 1, *3 .* null`, `ptmx -> pts/ptmx`, `77\n`,
		`touch: /proc/sys/x: `, `750:/data`, `1777:/dev/shm`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %q in what the container sees", want)
		}
	}
	if t.Failed() {
		t.Logf("container's output:\n%s", text)
	}
	if a := st.Addresses; a["bridge"] != "172.16.0.2/16" || !strings.HasPrefix(a["ext"], "10.118.0.") {
		t.Errorf("addresses reported: %v", a)
	}
}

func writeAt(t *testing.T, name string, off int64, text string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), off); err != nil {
		t.Fatal(err)
	}
}

// TestSoftStop: vSphere's "shut down guest" is the container's stop signal, and
// what does not obey it is killed.
func TestSoftStop(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		code   int
	}{
		"obeys":   {`trap 'echo bye; exit 3' USR1; echo ready; while :; do sleep 1; done`, 3},
		"refuses": {`trap '' USR1; echo ready; while :; do sleep 1; done`, 128 + 9},
	} {
		t.Run(name, func(t *testing.T) {
			s := container(c.script)
			s.Process.StopSignal = "SIGUSR1"
			s.Hostname = "stopme"
			s.Endpoints = []spec.Endpoint{{Network: "ext", MAC: "00:50:56:00:00:01"}}
			vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, GuestInfo: keys(t, s), Network: network(t),
				Disks: disks(t), NICs: []machine.NIC{{Network: "VM Network", MAC: "00:50:56:00:00:01", Slot: 192}}})
			output := output(t, vm)
			select {
			case <-output.some:
			case <-time.After(limit):
				t.Fatal("no output")
			}
			vm.Guest.Wait(t, "tools, name and address", limit, func() bool {
				tools, nics, host := vm.Guest.Seen()
				return tools && host == "stopme" && len(nics) == 1 && len(nics[0].Addresses) > 0 &&
					strings.HasPrefix(nics[0].Addresses[0], "10.118.0.")
			})
			if err := vm.ShutdownGuest(); err != nil {
				t.Fatal(err)
			}
			vm.WaitOff(limit)
			st, err := guestinfo.DecodeStatus(s.ID, vm.Guest.Keys())
			if err != nil || st.Exit.Code != c.code {
				t.Errorf("reported %+v %v", st, err)
			}
			if text := <-output.all; strings.Contains(text, "bye") != (name == "obeys") {
				t.Errorf("output %q", text)
			}
		})
	}
}
