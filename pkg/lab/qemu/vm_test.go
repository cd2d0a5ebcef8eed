//go:build vm

package qemu_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
)

const limit = 2 * time.Minute

func TestBootTiny(t *testing.T) {
	began := time.Now()
	vm := qemutest.Boot(t, qemutest.Options{ISO: qemutest.TinyISO(t), Console: 1})
	line := vm.Line(0)
	say(t, line, "", "hello from the tiny iso")
	t.Logf("up after %s", time.Since(began))
	say(t, line, "ping", "ping")
	vm.Expect("ping", limit)

	if err := vm.Reset(); err != nil {
		t.Fatal(err)
	}
	say(t, line, "", "hello from the tiny iso")
	say(t, line, "r", "hello from the tiny iso") // the guest's own reset

	_ = line.Close() // the far end goes away and comes back
	line = vm.Line(0)
	say(t, line, "again", "again")
	u, err := vm.Usage()
	if err != nil || u.CPUSeconds <= 0 || u.MemoryBytes < 1<<20 {
		t.Errorf("%+v %v", u, err)
	}
	t.Logf("%+v", u)
	if err := vm.ShutdownGuest(); err == nil {
		t.Error("soft power-off of a guest without tools")
	}
	if _, err := io.WriteString(line, "q"); err != nil {
		t.Fatal(err)
	}
	vm.WaitOff(limit)
}

// say writes text and waits for want.
func say(t *testing.T, c net.Conn, text, want string) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for b := make([]byte, 1); !strings.Contains(got.String(), want); {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("%v after %q, waiting for %q", err, got.String(), want)
		}
		got.Write(b)
	}
}

// rig is a hypervisor whose serial ports come to a listener.
func rig(t *testing.T, run string) (*qemu.Hypervisor, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	log := logrus.New()
	log.SetOutput(t.Output())
	log.SetLevel(logrus.DebugLevel)
	h, err := qemu.New(qemu.Config{RunDir: run, Accel: "tcg", Log: logrus.NewEntry(log), Network: sink{}})
	if err != nil {
		t.Fatal(err)
	}
	return h, l
}

// sink is a port group that swallows frames and tells of connections.
type sink struct{}

func (sink) Connect(ctx context.Context, _, _ string, c net.Conn) error {
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	_, err := io.Copy(io.Discard, c)
	return err
}

func runDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestAdopt(t *testing.T) {
	run := runDir(t)
	h, l := rig(t, run)
	dir := t.TempDir()
	m := machine.Machine{Name: "adoptee", UUID: uuid.NewString(), Dir: dir, CPUs: 1, MemoryMB: 16, CDROM: qemutest.TinyISO(t),
		NICs:    []machine.NIC{{Network: "n", MAC: "00:50:56:00:00:01", Slot: 192}},
		Serials: []machine.Serial{{URI: "tcp://" + l.Addr().String()}, {File: filepath.Join(dir, "output.log")}}}
	g := qemutest.NewGuest(nil)
	if _, err := h.Adopt(t.Context(), m, g); err == nil {
		t.Fatal("adopted what never ran")
	}
	first, err := h.Start(t.Context(), m, g)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	say(t, c, "", "hello")
	if _, err := h.Start(t.Context(), m, g); err == nil || !strings.Contains(err.Error(), "runs it already") {
		t.Fatalf("second start: %v", err)
	}
	h.Close() // the lab ends
	if _, err := bufio.NewReader(c).ReadString(0); err == nil {
		t.Fatal("line survived")
	}

	h2, err := qemu.New(qemu.Config{RunDir: run, Accel: "tcg", Network: sink{}, Log: logrus.NewEntry(logrus.New())})
	if err != nil {
		t.Fatal(err)
	}
	defer h2.Close()
	i, err := h2.Adopt(t.Context(), m, g)
	if err != nil {
		t.Fatal(err)
	}
	if i.PID() != first.PID() {
		t.Errorf("pid %d, was %d", i.PID(), first.PID())
	}
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	say(t, c, "still on", "still on")
	if _, err := io.WriteString(c, "q"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-i.Done():
	case <-time.After(limit):
		t.Fatal("on after q")
	}
	if err := i.Err(); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "output.log")); string(b) != "still on" {
		t.Errorf("second port's file: %q", b)
	}
	left, _ := os.ReadDir(run)
	if len(left) > 0 {
		t.Errorf("left in the run folder: %v", left)
	}
	if _, err := h2.Adopt(t.Context(), m, g); err == nil {
		t.Fatal("adopted what is off")
	}
}

func TestStartFails(t *testing.T) {
	run := runDir(t)
	h, _ := rig(t, run)
	defer h.Close()
	dir := t.TempDir()
	m := machine.Machine{Name: "no-iso", UUID: uuid.NewString(), Dir: dir, CPUs: 1, MemoryMB: 16, CDROM: filepath.Join(dir, "gone.iso")}
	began := time.Now()
	_, err := h.Start(t.Context(), m, qemutest.NewGuest(nil))
	if err == nil || !strings.Contains(err.Error(), "gone.iso") {
		t.Fatalf("%v", err)
	}
	t.Logf("%v after %s", err, time.Since(began))
	if left, _ := os.ReadDir(run); len(left) > 0 {
		t.Errorf("left in the run folder: %v", left)
	}
}

// TestDeafFarEnd: a far end that reads nothing holds up neither the VM's end nor
// Close.
func TestDeafFarEnd(t *testing.T) {
	vm := qemutest.Boot(t, qemutest.Options{ISO: qemutest.TinyISO(t), Console: 1})
	line := vm.Line(0) // nobody reads its hello
	vm.Kill()
	vm.WaitOff(limit)
	_ = line // kept open until the end; Boot's cleanup calls Close
}

// TestProbe: KVM is used only when a guest reached user space, which the tiny ISO
// never does.
func TestProbe(t *testing.T) {
	run := runDir(t)
	log := logrus.New()
	log.SetOutput(t.Output())
	for range 2 { // the second time it is remembered
		h, err := qemu.New(qemu.Config{RunDir: run, ProbeISO: qemutest.TinyISO(t), Log: logrus.NewEntry(log)})
		if err != nil {
			t.Fatal(err)
		}
		i, err := h.Start(t.Context(), machine.Machine{Name: "probe", UUID: uuid.NewString(), Dir: t.TempDir(), MemoryMB: 16, CDROM: qemutest.TinyISO(t)}, qemutest.NewGuest(nil))
		if err != nil {
			t.Fatal(err)
		}
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", i.PID()))
		if err != nil || !strings.Contains(string(cmdline), "tcg") {
			t.Errorf("%q %v", cmdline, err)
		}
		i.Kill()
		<-i.Done()
		h.Close()
	}
}

// TestSharedDisk runs several VMs on one nonpersistent disk; a writer is refused.
func TestSharedDisk(t *testing.T) {
	run := runDir(t)
	h, _ := rig(t, run)
	defer h.Close()
	disk := filepath.Join(t.TempDir(), "image.vmdk")
	if out, err := exec.Command("qemu-img", "create", "-f", "vmdk", "-o", "subformat=monolithicFlat", disk, "16M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	iso := qemutest.TinyISO(t)
	var vms []machine.Instance
	start := func(d machine.Disk) error {
		dir := t.TempDir()
		i, err := h.Start(t.Context(), machine.Machine{Name: "share", UUID: uuid.NewString(), Dir: dir, CPUs: 1, MemoryMB: 16, CDROM: iso,
			Disks: []machine.Disk{d}}, qemutest.NewGuest(nil))
		if err == nil {
			vms = append(vms, i)
		}
		if e, _ := os.ReadDir(dir); len(e) > 0 {
			t.Errorf("left in the VM's folder: %v", e)
		}
		return err
	}
	for range 4 {
		if err := start(machine.Disk{Path: disk, Unit: 1, Nonpersistent: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := start(machine.Disk{Path: disk, Unit: 1, ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	if err := start(machine.Disk{Path: disk, Unit: 1}); err == nil || !strings.Contains(err.Error(), "lock") {
		t.Fatalf("a writer beside readers: %v", err)
	}
	for _, i := range vms {
		i.Kill()
	}
	for _, i := range vms {
		<-i.Done()
		if err := i.Err(); err != nil {
			t.Error(err)
		}
	}
	if err := start(machine.Disk{Path: disk, Unit: 1}); err != nil {
		t.Fatal(err)
	}
	vms[len(vms)-1].Kill()
	<-vms[len(vms)-1].Done()
}
