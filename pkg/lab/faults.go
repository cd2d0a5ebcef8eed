package lab

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// faults are what can be made to go wrong. The zero value is all well.
type faults struct {
	mu           sync.Mutex
	slow         time.Duration
	slowTask     string
	disconnected bool
	lost         map[string]bool // datastores; replaced, never changed in place
}

// SlowTasks makes every task whose name begins with prefix ("" for all, like
// "powerOn" or "createVm") take that much longer. Zero ends it.
func (l *Lab) SlowTasks(prefix string, d time.Duration) {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	l.faults.slow, l.faults.slowTask = d, prefix
}

func (f *faults) delay(ctx context.Context, task string) {
	f.mu.Lock()
	d := f.slow
	if !strings.HasPrefix(task, f.slowTask) {
		d = 0
	}
	f.mu.Unlock()
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// DropSessions ends every client's session, as a restart of the management
// agents does.
func (l *Lab) DropSessions() {
	c := l.context(nil)
	var keys []string
	for _, s := range l.sessions() {
		if s.Key != c.Session.Key {
			keys = append(keys, s.Key)
		}
	}
	c.Map.SessionManager().TerminateSession(c, &types.TerminateSession{SessionId: keys})
}

// FillDatastore makes a datastore say that nothing is free, or stop saying it.
func (l *Lab) FillDatastore(name string, full bool) {
	l.space.mu.Lock()
	if l.space.full == nil {
		l.space.full = map[string]bool{}
	}
	l.space.full[name] = full
	l.space.mu.Unlock()
	l.measureAll(l.context(nil))
}

// DisconnectHost makes the host unreachable for management: power and
// configuration calls fail with HostNotConnected, its state says so, and VMs
// run on.
func (l *Lab) DisconnectHost(off bool) {
	l.faults.mu.Lock()
	l.faults.disconnected = off
	l.faults.mu.Unlock()
	c := l.context(nil)
	host, vm := types.HostSystemConnectionStateConnected, types.VirtualMachineConnectionStateConnected
	if off {
		host, vm = types.HostSystemConnectionStateNotResponding, types.VirtualMachineConnectionStateDisconnected
	}
	for _, ref := range c.Map.AllReference("HostSystem") {
		if h, ok := ref.(*simulator.HostSystem); ok {
			locked(c, h, func() { c.Update(h, []types.PropertyChange{set("runtime.connectionState", host)}) })
		}
	}
	for _, ref := range c.Map.AllReference("VirtualMachine") {
		if o, ok := ref.(*simulator.VirtualMachine); ok {
			locked(c, o, func() {
				c.Update(o, []types.PropertyChange{set("runtime.connectionState", vm), set("summary.runtime.connectionState", vm)})
			})
		}
	}
}

// refuses tells whether a call needs the host that is away.
func (f *faults) refuses(method string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.disconnected {
		return false
	}
	switch method {
	case "PowerOnVM_Task", "PowerOffVM_Task", "ResetVM_Task", "ShutdownGuest", "RebootGuest", "CreateVM_Task", "ReconfigVM_Task",
		"Destroy_Task", "CloneVM_Task", "RegisterVM_Task", "ImportVApp", "AddPortGroup", "RemovePortGroup", "AddVirtualSwitch",
		"RemoveVirtualSwitch", "CreateVirtualDisk_Task", "CopyVirtualDisk_Task", "SearchDatastore_Task":
		return true
	}
	return false
}
