package exec

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/guestinfo"
	viclab "github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// newOwnLab is our own lab: it checks what it is asked for, keeps real disks,
// and its guests speak guest RPC; only the hypervisor is made up.
func newOwnLab(t *testing.T, mode viclab.Mode) *lab {
	t.Helper()
	l := &lab{t: t, dsName: "mydatastore", group: "VCH Bridge", guests: newGuests()}
	log := logrus.New()
	log.SetOutput(io.Discard)
	dir, err := os.MkdirTemp("", "vic-exec-test-")
	if err != nil {
		t.Fatal(err)
	}
	v, err := viclab.New(viclab.Config{
		Mode: mode, StateDir: dir, Listen: "127.0.0.1:0", Hypervisor: &hypervisor{g: l.guests}, Log: logrus.NewEntry(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && ctx.Err() == nil {
			t.Errorf("lab: %v", err)
		}
		_ = os.RemoveAll(dir)
	})
	wait(t, v.Ready())
	l.own = v
	l.cfg = vsphere.Config{URL: v.URL().String(), User: v.User(), Password: v.Password(), Thumbprint: v.Thumbprint()}
	return l.furnish()
}

// hypervisor runs guests' programs in place of VMs.
type hypervisor struct{ g *guests }

var _ machine.Hypervisor = (*hypervisor)(nil)

func (h *hypervisor) Start(_ context.Context, m machine.Machine, g machine.Guest) (machine.Instance, error) {
	i := &instance{done: make(chan struct{})}
	id := strings.TrimSuffix(filepath.Base(m.Dir), "/")
	if v, ok := g.InfoGet(guestinfo.KeyID); ok {
		id = v
	}
	i.l = h.g.boot(id, func(pairs []guestinfo.Pair) {
		for _, p := range pairs {
			_ = g.InfoSet(p.Key, p.Value)
		}
	}, i.Kill)
	mode, _ := g.InfoGet(guestinfo.KeyMode)
	i.l.maintenance = mode == guestinfo.ModeMaintenance
	go h.g.work(i.l)
	return i, nil
}

func (h *hypervisor) Adopt(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, os.ErrNotExist
}

type instance struct {
	l    *line
	once sync.Once
	done chan struct{}
}

var _ machine.Instance = (*instance)(nil)

func (i *instance) PID() int              { return 1 }
func (i *instance) Done() <-chan struct{} { return i.done }
func (i *instance) Err() error            { return nil }
func (i *instance) Reset() error          { return nil }
func (i *instance) RebootGuest() error    { return nil }
func (i *instance) ShutdownGuest() error  { return nil }
func (i *instance) Kill() {
	i.once.Do(func() {
		close(i.l.off)
		close(i.done)
	})
}

// Hardware comes and goes, and nobody looks at it.
var _ machine.HotPlug = (*instance)(nil)

func (i *instance) GrowDisk(context.Context, machine.Disk, int64) error { return nil }
func (i *instance) AddDisk(context.Context, machine.Disk) error         { return nil }
func (i *instance) RemoveDisk(context.Context, machine.Disk) error      { return nil }
func (i *instance) AddNIC(context.Context, machine.NIC) error           { return nil }
func (i *instance) RemoveNIC(context.Context, machine.NIC) error        { return nil }

var _ machine.HotAdd = (*instance)(nil)

func (i *instance) Grow(context.Context, int, int64) error {
	i.l.g.mu.Lock()
	defer i.l.g.mu.Unlock()
	return i.l.g.noRoom
}

func (i *instance) Usage() (machine.Usage, error) { return machine.Usage{}, nil }

// vSphere drops all sessions: nothing is missed, and what comes after is seen.
func TestLostSession(t *testing.T) {
	l := newOwnLab(t, viclab.ModeVCenter)
	e := l.boot()
	a, err := e.Create(t.Context(), container(1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Create(t.Context(), container(2))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{a.Container.ID, b.Container.ID} {
		if err := e.Start(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	e.next(4)
	l.own.DropSessions()
	if err := l.admin.PowerOff(t.Context(), l.vm(a)); err != nil {
		t.Fatal(err)
	}
	// Only who reads everything again, every five minutes, would take longer than
	// next waits.
	if got := e.next(1); got[0] != "exited c1 137 external" {
		t.Errorf("%v", got)
	}
	if err := e.Stop(t.Context(), b.Container.ID, "", patience); err != nil {
		t.Errorf("stop after the session was lost: %v", err)
	}
}

// A full datastore and a host that is away: clear errors, nothing left behind.
func TestLabFaults(t *testing.T) {
	l := newOwnLab(t, viclab.ModeESXi)
	e := l.boot()
	v, err := e.Create(t.Context(), container(1))
	if err != nil {
		t.Fatal(err)
	}
	before := l.files()
	l.own.FillDatastore(l.dsName, true)
	if _, err := e.Create(t.Context(), container(2)); !errdefs.IsResourceExhausted(err) {
		t.Errorf("create on a full datastore: %v", err)
	}
	l.own.FillDatastore(l.dsName, false)
	l.own.DisconnectHost(true)
	if _, err := e.Create(t.Context(), container(2)); err == nil {
		t.Error("create on a host that is away")
	}
	if err := e.Start(t.Context(), v.Container.ID); err == nil {
		t.Error("start on a host that is away")
	}
	l.own.DisconnectHost(false)
	if d := cmp.Diff(before, l.files()); d != "" {
		t.Errorf("left behind:\n%s", d)
	}
	if err := e.Start(t.Context(), v.Container.ID); err != nil {
		t.Errorf("start when all is well again: %v", err)
	}
}
