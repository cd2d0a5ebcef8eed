//go:build vm

package isos

import (
	"bytes"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
)

func builder(t *testing.T) *Builder {
	t.Helper()
	b, err := New(Config{Root: "..", Log: silent()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBuild makes both images twice from Debian's packages: the bytes are the
// same, the files are those of the golden lists, and they are not too large.
func TestBuild(t *testing.T) {
	for _, m := range []Manifest{Bootstrap(), Appliance()} {
		first, list, err := builder(t).Build(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, m.Name+".list", list)
		again, _, err := builder(t).Build(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) {
			t.Errorf("%s.iso: two builds differ", m.Name)
		}
		t.Logf("%s.iso: %.1f MiB", m.Name, float64(len(first))/(1<<20))
		if m.Name == "bootstrap" && len(first) > MaxBootstrapBytes {
			t.Errorf("%s.iso: %d bytes, %d allowed", m.Name, len(first), MaxBootstrapBytes)
		}
	}
}

// boots boots bootstrap.iso with another command line.
func boots(t *testing.T, cmdline string) *qemutest.VM {
	t.Helper()
	m := Bootstrap()
	m.Cmdline = cmdline
	name, err := builder(t).Write(t.Context(), m, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return qemutest.Boot(t, qemutest.Options{ISO: name, Console: 2})
}

// TestBootsSilently: BIOS and boot loader say nothing on any serial port, and
// the kernel only on the console; with another console it is the other way.
func TestBootsSilently(t *testing.T) {
	vm := boots(t, Bootstrap().Cmdline)
	control := readAll(vm, 0)
	vm.Expect(`vic: boot failed, powering off`, 2*time.Minute)
	vm.WaitOff(time.Minute)
	if b := <-control; len(b) != 0 {
		t.Errorf("on the control line: %q", b)
	}
}

func TestConsoleElsewhere(t *testing.T) {
	vm := boots(t, "console=ttyS0 panic=-1")
	control := readAll(vm, 0)
	vm.WaitOff(2 * time.Minute)
	if b := <-control; !bytes.Contains(b, []byte("Linux version 6.")) {
		t.Errorf("nothing of the kernel on the control line: %.200q", b)
	}
	if vm.Text() != "" {
		t.Errorf("on ttyS2: %q", vm.Text())
	}
}

// readAll collects what a serial port says until the VM ends.
func readAll(vm *qemutest.VM, port int) <-chan []byte {
	line := vm.Line(port)
	out := make(chan []byte, 1)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(line)
		out <- b.Bytes()
	}()
	return out
}
