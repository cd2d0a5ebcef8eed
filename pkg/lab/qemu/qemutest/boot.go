package qemutest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu"
)

// Options of a VM. The zero value of each field but ISO is useful.
type Options struct {
	ISO      string
	CPUs     int   // default 1
	MemoryMB int64 // default 256
	// MaxCPUs and MaxMemoryMB are what it can grow to, default what it has.
	MaxCPUs     int
	MaxMemoryMB int64
	Disks       []machine.Disk
	NICs        []machine.NIC
	Network     qemu.Network // nil: NICs have no link
	// Ports is how many serial ports there are, default 3. All are streams in
	// memory: the one numbered Console is what Expect reads, the others are
	// had from Line.
	Ports   int
	Console int
	// GuestInfo are the keys that the guest finds.
	GuestInfo map[string]string
	Accel     string // default "tcg"
}

// VM is a running VM of a test.
type VM struct {
	machine.Instance
	Guest   *Guest
	Machine machine.Machine

	t     testing.TB
	lines []chan net.Conn // our end of each port's current connection

	mu   sync.Mutex // guards text and more
	text []byte
	more chan struct{} // closed and replaced when text has grown
}

// Boot starts a VM, and kills it at the end of the test.
func Boot(t testing.TB, o Options) *VM {
	t.Helper()
	if o.Ports == 0 {
		o.Ports = 3
	}
	if o.Accel == "" {
		o.Accel = "tcg"
	}
	// t.TempDir's path may be too long for a unix socket.
	run, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	vm := &VM{t: t, Guest: NewGuest(o.GuestInfo), more: make(chan struct{})}
	m := machine.Machine{ID: "vm-1", Name: t.Name(), UUID: uuid.NewString(), Dir: t.TempDir(), CPUs: max(1, o.CPUs),
		MemoryMB: max(o.MemoryMB, 0), MaxCPUs: o.MaxCPUs, MaxMemoryMB: o.MaxMemoryMB, CDROM: o.ISO, Disks: o.Disks, NICs: o.NICs}
	if m.MemoryMB == 0 {
		m.MemoryMB = 256
	}
	for n := range o.Ports {
		vm.lines = append(vm.lines, make(chan net.Conn, 1))
		m.Serials = append(m.Serials, machine.Serial{URI: fmt.Sprintf("tcp://port:%d", 1+n)})
	}
	vm.Machine = m
	log := logrus.New()
	log.SetOutput(testWriter{t})
	log.SetLevel(logrus.DebugLevel)
	h, err := qemu.New(qemu.Config{RunDir: run, Accel: o.Accel, Network: o.Network, Dial: vm.dial, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if vm.Instance, err = h.Start(ctx, m, vm.Guest); err != nil {
		h.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vm.Kill()
		<-vm.Done()
		h.Close()
		if t.Failed() {
			t.Logf("console:\n%s", vm.Text())
		}
	})
	go vm.readConsole(vm.Line(o.Console))
	return vm
}

// dial gives QEMU's relay one end of a pipe and the test the other, once.
func (vm *VM) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	var n int
	if _, err := fmt.Sscanf(addr, "port:%d", &n); err != nil || n < 1 || n > len(vm.lines) {
		return nil, fmt.Errorf("no line %s", addr)
	}
	near, far := net.Pipe()
	select {
	case vm.lines[n-1] <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Line waits for the other end of serial port n. After closing it, a further call
// gives the next connection.
func (vm *VM) Line(n int) net.Conn {
	vm.t.Helper()
	select {
	case c := <-vm.lines[n]:
		return c
	case <-time.After(time.Minute):
		vm.t.Fatalf("serial port %d does not connect", n)
		return nil
	}
}

func (vm *VM) readConsole(c net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		vm.mu.Lock()
		vm.text = append(vm.text, buf[:n]...)
		close(vm.more)
		vm.more = make(chan struct{})
		vm.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Text is what the console said so far.
func (vm *VM) Text() string {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return string(vm.text)
}

// Expect waits until the console's text matches pattern, and returns the match
// and its groups. It fails the test after limit or when the VM is off.
func (vm *VM) Expect(pattern string, limit time.Duration) []string {
	vm.t.Helper()
	re := regexp.MustCompile(pattern)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	off := vm.Done()
	for last := false; ; {
		vm.mu.Lock()
		match, more := re.FindSubmatch(vm.text), vm.more
		vm.mu.Unlock()
		if match != nil {
			out := make([]string, len(match))
			for i, m := range match {
				out[i] = string(m)
			}
			return out
		}
		if last {
			vm.t.Fatalf("the VM ended without %q on its console (%v)", pattern, vm.Err())
		}
		select {
		case <-more:
		case <-timer.C:
			vm.t.Fatalf("no %q on the console within %s", pattern, limit)
		case <-off:
			// What it said last may still be on its way.
			off = nil
			select {
			case <-more:
			case <-time.After(time.Second):
				last = true
			}
		}
	}
}

// WaitOff waits for the guest to power off and fails the test if it does not, or
// if QEMU failed.
func (vm *VM) WaitOff(limit time.Duration) {
	vm.t.Helper()
	select {
	case <-vm.Done():
		if err := vm.Err(); err != nil {
			vm.t.Fatal(err)
		}
	case <-time.After(limit):
		vm.t.Fatalf("still on after %s", limit)
	}
}

// testWriter puts log lines into the test's log.
type testWriter struct{ t testing.TB }

var _ io.Writer = testWriter{}

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}
