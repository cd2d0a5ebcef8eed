//go:build vm

package qemu_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/isos"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
)

// shellISO boots the product's kernel and drivers, and gives a shell on ttyS0.
func shellISO(t *testing.T) string {
	t.Helper()
	m := isos.Bootstrap()
	m.Name, m.Cmdline = "shell", "console=ttyS1 quiet loglevel=4 panic=-1"
	m.Packages = append(m.Packages, "busybox-static")
	for i := range m.Files {
		if m.Files[i].Path == "init" {
			m.Files[i] = isos.File{Path: "init", Mode: 0o755, Text: "#!/bin/busybox sh\n" +
				"b=/bin/busybox\n$b mount -t proc none /proc\n$b mount -t sysfs none /sys\n$b mount -t devtmpfs none /dev\n" +
				"for m in scsi_common scsi_mod vmw_pvscsi sd_mod vmxnet3; do $b insmod /lib/modules/$m.ko; done\n" +
				"exec </dev/ttyS0 >/dev/ttyS0 2>&1\n$b stty -echo\necho shell-is-up\n" +
				"while true; do $b sh; done\n"}
		}
	}
	m.Files = append(m.Files, isos.File{Path: "bin/busybox", Mode: 0o755, From: "busybox-static:bin/busybox"})
	b, err := isos.New(isos.Config{Root: "../../..", Log: logrus.NewEntry(logrus.New())})
	if err != nil {
		t.Fatal(err)
	}
	name, err := b.Write(t.Context(), m, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestHotPlug changes a running VM's hardware and asks its guest what it has.
func TestHotPlug(t *testing.T) {
	run := runDir(t)
	h, l := rig(t, run)
	dir := t.TempDir()
	vmdk := func(name string) machine.Disk {
		file := filepath.Join(dir, name+".vmdk")
		if out, err := exec.Command("qemu-img", "create", "-f", "vmdk", "-o", "subformat=monolithicFlat", file, "16M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return machine.Disk{Path: file, Extent: strings.TrimSuffix(file, ".vmdk") + "-flat.vmdk"}
	}
	first := vmdk("first")
	nic := machine.NIC{Network: "n", MAC: "00:50:56:00:00:01", Slot: 192}
	m := machine.Machine{Name: "hotplug", UUID: uuid.NewString(), Dir: dir, CPUs: 1, MemoryMB: 256, MaxCPUs: 3, MaxMemoryMB: 3072, CDROM: shellISO(t),
		Disks: []machine.Disk{first}, NICs: []machine.NIC{nic},
		Serials: []machine.Serial{{URI: "tcp://" + l.Addr().String()}, {File: filepath.Join(dir, "console.log")}}}
	g := qemutest.NewGuest(nil)
	i, err := h.Start(t.Context(), m, g)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { i.Kill() }()
	var c net.Conn
	accept := func() {
		t.Helper()
		if c, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	accept()
	defer func() {
		if t.Failed() {
			b, _ := os.ReadFile(filepath.Join(dir, "console.log"))
			t.Logf("console:\n%s", b)
		}
	}()
	hot := i.(machine.HotPlug)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	// until waits in the guest for a condition.
	until := func(condition string) {
		t.Helper()
		n++
		say(t, c, fmt.Sprintf("until %s; do /bin/busybox usleep 100000; done; echo done $((%d-1))\n", condition, n), fmt.Sprintf("done %d", n-1))
	}
	say(t, c, "", "shell-is-up")
	until("[ -e /sys/block/sda ]")

	must(hot.GrowDisk(t.Context(), first, 32<<20))
	until("echo 1 >/sys/block/sda/device/rescan; [ $(/bin/busybox cat /sys/block/sda/size) = 65536 ]")
	if fi, err := os.Stat(first.Extent); err != nil || fi.Size() != 32<<20 {
		t.Errorf("%v %v", fi, err)
	}

	second := vmdk("second")
	second.Unit = 1
	must(hot.AddDisk(t.Context(), second))
	until("[ -e /sys/block/sdb ]")
	if err := hot.AddDisk(t.Context(), second); !errdefs.IsAlreadyExists(err) {
		t.Errorf("added twice: %v", err)
	}
	must(hot.RemoveDisk(t.Context(), second))
	until("[ ! -e /sys/block/sdb ]")
	second.Nonpersistent, second.Extent = true, ""
	must(hot.AddDisk(t.Context(), second))
	until("[ -e /sys/block/sdb ]")
	must(hot.RemoveDisk(t.Context(), second))
	until("[ ! -e /sys/block/sdb ]")

	third := vmdk("third") // with a controller of its own
	third.Bus, third.Unit = 1, 3
	must(hot.AddDisk(t.Context(), third))
	until("[ -e /sys/block/sdb ]")
	must(hot.GrowDisk(t.Context(), third, 24<<20))
	until("echo 1 >/sys/block/sdb/device/rescan; [ $(/bin/busybox cat /sys/block/sdb/size) = 49152 ]")

	nic2 := machine.NIC{Network: "n", MAC: "00:50:56:00:00:02", Slot: 224}
	must(hot.AddNIC(t.Context(), nic2))
	until("/bin/busybox grep -q 00:50:56:00:00:02 /sys/class/net/*/address")

	// CPUs and memory come, and are used once the guest says so.
	grown := func(hot machine.HotAdd, cpus int, memoryMB, totalKB int64) {
		t.Helper()
		must(hot.Grow(t.Context(), cpus, memoryMB))
		until(fmt.Sprintf("echo 1 2>/dev/null >/sys/devices/system/cpu/cpu%d/online; [ $(/bin/busybox cat /sys/devices/system/cpu/online) = 0-%[1]d ]", cpus-1))
		until(fmt.Sprintf("for m in /sys/devices/system/memory/memory*/state; do /bin/busybox grep -q offline $m && echo online >$m; done; "+
			"/bin/busybox awk '/MemTotal/ {exit !($2 > %d)}' /proc/meminfo", totalKB))
	}
	grown(i.(machine.HotAdd), 2, 384, 270000)
	must(i.(machine.HotAdd).Grow(t.Context(), 1, 256)) // it has more
	if err := i.(machine.HotAdd).Grow(t.Context(), 4, 384); !errdefs.IsResourceExhausted(err) {
		t.Errorf("more CPUs than there is room for: %v", err)
	}
	if err := i.(machine.HotAdd).Grow(t.Context(), 3, 4096); !errdefs.IsResourceExhausted(err) {
		t.Errorf("more memory than there is room for: %v", err)
	}

	// The first card goes, and another lab takes over, which only knows the
	// second one.
	must(hot.RemoveNIC(t.Context(), nic))
	until("! /bin/busybox grep -q 00:50:56:00:00:01 /sys/class/net/*/address")
	h.Close()
	log := logrus.New()
	log.SetOutput(t.Output())
	h2, err := qemu.New(qemu.Config{RunDir: run, Accel: "tcg", Network: sink{}, Log: logrus.NewEntry(log)})
	must(err)
	defer h2.Close()
	m.Disks, m.NICs = []machine.Disk{first, third}, []machine.NIC{nic2}
	if i, err = h2.Adopt(t.Context(), m, g); err != nil {
		t.Fatal(err)
	}
	defer func() { i.Kill(); <-i.Done() }()
	hot = i.(machine.HotPlug)
	accept()
	grown(i.(machine.HotAdd), 3, 512, 400000)
	must(hot.AddNIC(t.Context(), nic)) // in the place that is free
	until("/bin/busybox grep -q 00:50:56:00:00:01 /sys/class/net/*/address")
	must(hot.RemoveNIC(t.Context(), nic2))
	until("! /bin/busybox grep -q 00:50:56:00:00:02 /sys/class/net/*/address")
	must(hot.RemoveDisk(t.Context(), third))
	until("[ ! -e /sys/block/sdb ]")
}

// TestDeafGuest: a guest without drivers keeps its card, and the VM runs on with
// it.
func TestDeafGuest(t *testing.T) {
	nic := machine.NIC{Network: "n", MAC: "00:50:56:00:00:01", Slot: 192}
	vm := qemutest.Boot(t, qemutest.Options{ISO: qemutest.TinyISO(t), Console: 1, NICs: []machine.NIC{nic}})
	line := vm.Line(0)
	say(t, line, "", "hello from the tiny iso")
	if err := vm.Instance.(machine.HotPlug).RemoveNIC(t.Context(), nic); !errdefs.IsUnavailable(err) {
		t.Fatalf("%v", err)
	}
	say(t, line, "ping", "ping")
}
