package exec

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// An administrator turns a VM on, and the guest says that its process runs
// after the VM was read and before what was read is believed: the start is seen.
func TestStartedWhileTheVMIsRead(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	var got []spec.EventKind
	m := &Manager{byID: map[string]*Controller{}, cfg: Config{
		Log: logrus.NewEntry(log), Publish: func(e spec.Event) { got = append(got, e.Kind) },
	}}
	m.cfg.defaults()
	sc := container(1)
	c := newController(m, sc, spec.PhaseCreated)
	c.vm = types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-1"}
	if err := m.add(c); err != nil {
		t.Fatal(err)
	}
	read := func(pairs ...guestinfo.Pair) vsphere.VM {
		vm := vsphere.VM{Ref: c.vm, Name: sc.Name, Power: types.VirtualMachinePowerStatePoweredOn, Config: map[string]string{}}
		for _, p := range pairs {
			vm.Config[p.Key] = p.Value
		}
		return vm
	}
	seen := m.generations()
	early := read()
	m.OnStarted(c.id, 7, time.Time{})
	if err := c.observe(early, seen[c.id]); !errors.Is(err, errOld) {
		t.Fatalf("what was read before is believed: %v", err)
	}
	seen = m.generations()
	if err := c.observe(read(guestinfo.StartedPairs(c.id, 7, time.Now().UTC())...), seen[c.id]); err != nil {
		t.Fatal(err)
	}
	// Output of the process is never older than its start, however late that was told.
	begun := time.Now().UTC().Add(-time.Minute)
	m.OnStarted(c.id, 7, begun)
	if !c.status.Started.Equal(begun) {
		t.Errorf("started %s, the guest says %s", c.status.Started, begun)
	}
	if len(got) != 1 || got[0] != spec.EventStarted || c.phase != spec.PhaseRunning || c.status.Pid != 7 {
		t.Errorf("events %v, phase %s, pid %d", got, c.phase, c.status.Pid)
	}
}

// The guest says that its process runs before the call that turned the VM on is
// back: a VM that was read in between, still off, does not end the run.
func TestOffReadBeforeStarted(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	m := &Manager{byID: map[string]*Controller{}, cfg: Config{Log: logrus.NewEntry(log), Publish: func(spec.Event) {}}}
	m.cfg.defaults()
	c := newController(m, container(1), spec.PhaseCreated)
	c.vm = types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-1"}
	if err := m.add(c); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.begin(nil); err != nil {
		t.Fatal(err)
	}
	c.touch()
	seen := m.generations()
	off := vsphere.VM{Ref: c.vm, Power: types.VirtualMachinePowerStatePoweredOff, Config: map[string]string{}}
	m.OnStarted(c.id, 7, time.Time{})
	if err := c.observe(off, seen[c.id]); !errors.Is(err, errOld) {
		t.Errorf("what was read before is believed: %v", err)
	}
	if c.phase != spec.PhaseRunning {
		t.Errorf("phase %s", c.phase)
	}
}
