//go:build vm

package tether_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/disk/ext4"
	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/lab/store"
	"github.com/vic-engine/vic/pkg/spec"
)

// volumeDisk is a disk with a filesystem that is smaller.
func volumeDisk(t *testing.T, filesystem, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "vol")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := ext4.WriteBlank(f, filesystem, ext4.BlankOptions{}); err != nil {
		t.Fatal(err)
	}
	return vmdk(t, name)
}

// volumeBoot runs a container to its end and gives what it put out, and how.
func volumeBoot(t *testing.T, c spec.Container, disks []machine.Disk) (string, guestinfo.Status) {
	t.Helper()
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: disks, GuestInfo: keys(t, c)})
	output := output(t, vm)
	vm.WaitOff(limit)
	st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil {
		t.Fatal(err)
	}
	return <-output.all, st
}

// TestVolumes: one disk at several places, a filesystem that grows at its mount,
// the image's data once, and nothing lost at the power-off.
func TestVolumes(t *testing.T) {
	script := `{ stat -c "top %a %U" /data; ls -A /data; echo "end of list"; mount; touch /ro/x; echo kept > /data/file; touch /data/sub; ` +
		`stat -f -c "blocks %b %S" /data; cat /etc/vol/passwd; } 2>&1`
	c := container(script)
	c.Mounts = []spec.Mount{
		{Type: spec.MountVolume, Name: "data", Path: "/data", Unit: 2},
		{Type: spec.MountVolume, Name: "data", Path: "/ro", Unit: 2, ReadOnly: true},
		{Type: spec.MountVolume, Name: "etc", Path: "/etc", Unit: 3},
		{Type: spec.MountVolume, Name: "etc", Path: "/etc/vol", Unit: 3},
	}
	data, etc := volumeDisk(t, 64<<20, 256<<20), volumeDisk(t, 64<<20, 64<<20)
	all := append(disks(t), machine.Disk{Path: data, Unit: 2}, machine.Disk{Path: etc, Unit: 3})
	text, st := volumeBoot(t, c, all)
	if st.Exit.Error != "" || st.Exit.Code != 0 {
		t.Errorf("reported %+v", st.Exit)
	}
	for _, want := range []string{`top 750 `, `\nend of list`, `/dev/sdc on /data type ext4 \(rw`, `/dev/sdc on /ro type ext4 \(ro`,
		`touch: /ro/x: Read-only`, `root:x:0:0`, `blocks 6\d\d\d\d 4096|blocks 2[3-6]\d\d\d\d 1024`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %q in what the container sees", want)
		}
	}
	if strings.Contains(text, "lost+found") {
		t.Error("the volume has lost+found")
	}
	// Written out and clean, at its new size.
	if out, err := exec.Command("e2fsck", "-fn", rawDisk(t, data)).CombinedOutput(); err != nil && !onlyLostFound(string(out)) {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	// The same container again finds what it left, and an emptied volume is not
	// filled again; a folder is enough, but one that leads out is refused.
	c.Process.Args = []string{"-c", `cat /data/file; ls -A /etc/vol; : > /etc/passwd; echo bye`}
	text, st = volumeBoot(t, c, all)
	if !strings.Contains(text, "kept") || st.Exit.Code != 0 {
		t.Errorf("second boot: %q %+v", text, st.Exit)
	}
	c.Mounts = []spec.Mount{{Type: spec.MountVolume, Name: "data", Path: "/mnt", Unit: 2, SubPath: "../etc"}}
	if _, st = volumeBoot(t, c, all); !strings.Contains(st.Exit.Error, "leads out of the volume") {
		t.Errorf("a folder outside: %+v", st.Exit)
	}
	if t.Failed() {
		t.Logf("container's output:\n%s", text)
	}
}

// onlyLostFound: e2fsck wants the folder that tether removes.
func onlyLostFound(out string) bool {
	return strings.Contains(out, "lost+found not found") && !strings.Contains(out, "Inode") && !strings.Contains(out, "differences")
}

// TestGrowRunning makes a disk larger under a running container.
func TestGrowRunning(t *testing.T) {
	signer := signerOf(t)
	c := container(`trap 'stat -f -c "blocks %b %S" /data; echo x > /data/last; exit 0' USR1; echo ready; while :; do sleep 1; done`)
	c.AuthorizedKey = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	c.Mounts = []spec.Mount{{Type: spec.MountVolume, Name: "data", Path: "/data", Unit: 2}}
	vol := growing(t, 64<<20)
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, GuestInfo: keys(t, c), Disks: append(disks(t), vol)})
	output := output(t, vm)
	server := concentrator(t, vm, signer)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	line, err := server.Session(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	<-output.some
	if err := line.Grow(ctx, 2); err == nil || !strings.Contains(err.Error(), "not larger") {
		t.Errorf("the disk has not grown: %v", err)
	}
	for _, size := range []int64{160 << 20, 1 << 30, 20 << 30} {
		if err := vm.Instance.(machine.HotPlug).GrowDisk(ctx, vol, size); err != nil {
			t.Fatal(err)
		}
		if err := line.Grow(ctx, 2); err != nil {
			t.Errorf("the disk has grown to %d: %v", size, err)
		}
	}
	if err := line.Grow(ctx, 5); err == nil {
		t.Error("no such disk, but it has grown")
	}
	if err := line.Signal(ctx, "", "USR1"); err != nil {
		t.Error(err)
	}
	vm.WaitOff(limit)
	text := <-output.all
	if m := regexp.MustCompile(`blocks (\d+) (\d+)`).FindStringSubmatch(text); m == nil {
		t.Errorf("output %q", text)
	} else if blocks, _ := strconv.Atoi(m[1]); blocks*4096 < 900<<20 {
		t.Errorf("the filesystem has %s blocks", m[1])
	}
	if out, err := exec.Command("e2fsck", "-fn", vol.Extent).CombinedOutput(); err != nil && !onlyLostFound(string(out)) {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

// growing is a disk in one plain extent, which can grow while a VM runs.
func growing(t *testing.T, size int64) machine.Disk {
	t.Helper()
	d := machine.Disk{Path: filepath.Join(t.TempDir(), "vol.vmdk"), Unit: 2}
	if err := store.Create(d.Path, store.Spec{Capacity: size, Thin: true}); err != nil {
		t.Fatal(err)
	}
	d.Extent = strings.TrimSuffix(d.Path, ".vmdk") + "-flat.vmdk"
	f, err := os.OpenFile(d.Extent, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := ext4.WriteBlank(f, size, ext4.BlankOptions{}); err != nil {
		t.Fatal(err)
	}
	return d
}

func rawDisk(t *testing.T, disk string) string {
	t.Helper()
	raw := disk + ".raw"
	if out, err := exec.Command("qemu-img", "convert", "-O", "raw", disk, raw).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return raw
}

// xfsDisk is a disk whose first filesystem bytes are an XFS, always with the same UUID, as
// copies of one blank have.
func xfsDisk(t *testing.T, filesystem, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "xfs")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(filesystem); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/sbin/mkfs.xfs", "-q", "-m", "uuid=6b1f3a52-0c6e-4a5e-8f5e-2d5f1f0a7c11", name).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.xfs: %v: %s", err, out)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return vmdk(t, name)
}

// TestXFSVolumes: the driver comes from the boot disc; two copies of one blank in
// one VM, one that grows at its mount and one that is only read.
func TestXFSVolumes(t *testing.T) {
	c := container(`{ mount; stat -f -c "blocks %b %S" /data; echo kept > /data/file; touch /ro/x; ls /run/vic/disc; } 2>&1`)
	c.Mounts = []spec.Mount{
		{Type: spec.MountVolume, Name: "data", FSType: "xfs", Path: "/data", Unit: 2},
		{Type: spec.MountVolume, Name: "ro", FSType: "xfs", Path: "/ro", Unit: 3, ReadOnly: true},
	}
	data, ro := xfsDisk(t, 300<<20, 700<<20), xfsDisk(t, 300<<20, 300<<20)
	text, st := volumeBoot(t, c, append(disks(t), machine.Disk{Path: data, Unit: 2}, machine.Disk{Path: ro, Unit: 3}))
	if st.Exit.Error != "" {
		t.Errorf("reported %+v", st.Exit)
	}
	for _, want := range []string{`/dev/sdc on /data type xfs \(rw`, `/dev/sdd on /ro type xfs \(ro`, `touch: /ro/x: Read-only`, `blocks 1[67]\d\d\d\d 4096`} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %q in what the container sees", want)
		}
	}
	raw := rawDisk(t, data)
	if out, err := exec.Command("/sbin/xfs_repair", "-n", raw).CombinedOutput(); err != nil {
		t.Errorf("xfs_repair: %v\n%s", err, out)
	}
	if out, err := exec.Command("/usr/sbin/xfs_db", "-r", "-c", "ls /", raw).CombinedOutput(); err != nil || !strings.Contains(string(out), "file") {
		t.Errorf("what is on the disk: %v\n%s", err, out)
	}
	if t.Failed() {
		t.Logf("container's output:\n%s", text)
	}
}
