package exec

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// fileServer is what the lines of all guests give as files.
type fileServer struct {
	mu sync.Mutex // guards what follows
	// block, when set, holds StatFile until it is closed or the client goes.
	block chan struct{}
	busy  chan struct{} // gets a token when one is held
	// lost, when set, is what the line fails with, once.
	lost func() error
}

func (f *fileServer) stat(ctx context.Context, path string) (spec.FileStat, error) {
	f.mu.Lock()
	block, busy, lost := f.block, f.busy, f.lost
	f.lost = nil
	f.mu.Unlock()
	if lost != nil {
		return spec.FileStat{}, lost()
	}
	if block != nil {
		busy <- struct{}{}
		select {
		case <-block:
		case <-ctx.Done():
			return spec.FileStat{}, ctx.Err()
		}
	}
	return spec.FileStat{Name: path}, nil
}

// hold lets StatFile wait until release is called; busy tells that one does.
func (f *fileServer) hold() (busy <-chan struct{}, release func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	block := make(chan struct{})
	f.block, f.busy = block, make(chan struct{}, 10)
	return f.busy, func() {
		f.mu.Lock()
		f.block = nil
		f.mu.Unlock()
		close(block)
	}
}

var _ FileLine = (*line)(nil)

func (l *line) StatFile(ctx context.Context, path string) (spec.FileStat, error) {
	return l.g.files.stat(ctx, path)
}

func (l *line) GetFiles(ctx context.Context, path string, begin func(spec.FileStat) (io.Writer, error)) error {
	if _, err := l.g.files.stat(ctx, path); err != nil {
		return err
	}
	w, err := begin(spec.FileStat{Name: path})
	if err == nil {
		_, err = io.WriteString(w, "tar of "+path)
	}
	return err
}

func (l *line) PutFiles(ctx context.Context, q spec.FileRequest, in io.Reader) error {
	if _, err := l.g.files.stat(ctx, q.Path); err != nil {
		return err
	}
	text, err := io.ReadAll(in)
	if err == nil && string(text) != "tar for "+q.Path {
		err = errors.New("put " + string(text))
	}
	return err
}

func (l *line) Changes(ctx context.Context) ([]spec.FileChange, error) {
	if _, err := l.g.files.stat(ctx, "/"); err != nil {
		return nil, err
	}
	return []spec.FileChange{{Path: "/x", Kind: spec.FileAdded}}, nil
}

func (l *line) Export(ctx context.Context, w io.Writer) error {
	if _, err := l.g.files.stat(ctx, "/"); err != nil {
		return err
	}
	_, err := io.WriteString(w, "all")
	return err
}

func (l *line) Layer(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "layer")
	return err
}

func (l *line) PowerOff(context.Context) error {
	if !l.maintenance {
		return errdefs.ErrConflict
	}
	go l.halt()
	return nil
}

// serving is a guest that serves files until it is told to end.
func serving(l *line) {
	l.g.mu.Lock()
	l.g.boots++
	l.g.mu.Unlock()
	l.set([]guestinfo.Pair{{Key: guestinfo.KeyTetherState, Value: "MAINTENANCE"}})
	l.up()
	<-l.off
}

func (g *guests) serve(p program) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.served = p
}

func (g *guests) maintenances() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.boots
}

// vm reads a container's VM past the engine.
func (e *engine) vm(id string) vsphere.VM {
	e.lab.t.Helper()
	v, err := e.Container(id)
	if err != nil {
		e.lab.t.Fatal(err)
	}
	vm, err := e.lab.admin.VM(context.Background(), types.ManagedObjectReference{Type: "VirtualMachine", Value: v.Status.VM})
	if err != nil {
		e.lab.t.Fatal(err)
	}
	return vm
}

// rests waits until a container's VM is as it was: off and without a mode.
func (e *engine) rests(id string) {
	e.lab.t.Helper()
	for end := time.Now().Add(patience); ; {
		c, err := e.find(id)
		if err != nil {
			e.lab.t.Fatal(err)
		}
		vm := e.vm(id)
		if c.maintained() == nil && !vm.On() && !inMaintenance(vm) {
			return
		}
		if time.Now().After(end) {
			e.lab.t.Fatalf("VM is %s, mode %q, maintenance %v", vm.Power, vm.Config[guestinfo.KeyMode], c.maintained() != nil)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func quick(c *Config) { c.FilesLinger = 50 * time.Millisecond }

// TestFilesOfStopped: one boot serves several, nobody sees it, and the container
// starts and goes after it as ever.
func TestFilesOfStopped(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot(func(c *Config) { c.FilesLinger = time.Hour })
		c := container(1)
		if _, err := e.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		e.next(1)
		if st, err := e.StatFile(t.Context(), c.ID, "/etc"); err != nil || st.Name != "/etc" {
			t.Fatalf("stat %+v %v", st, err)
		}
		if p := e.phase(c.ID); p != spec.PhaseCreated {
			t.Errorf("it is %s", p)
		}
		var out strings.Builder
		begin := func(spec.FileStat) (io.Writer, error) { return &out, nil }
		if err := errors.Join(
			e.GetFiles(t.Context(), c.ID, "/a", begin),
			e.PutFiles(t.Context(), c.ID, spec.FileRequest{Path: "/b"}, strings.NewReader("tar for /b")),
			e.Export(t.Context(), c.ID, &out), e.Layer(t.Context(), c.ID, &out),
		); err != nil || out.String() != "tar of /aalllayer" {
			t.Errorf("%q %v", out.String(), err)
		}
		if list, err := e.Changes(t.Context(), c.ID); err != nil || len(list) != 1 {
			t.Errorf("changes %v %v", list, err)
		}
		if n := l.guests.maintenances(); n != 1 {
			t.Errorf("%d boots for what one serves", n)
		}
		if err := e.Stop(t.Context(), c.ID, "", 0); err != nil {
			t.Errorf("stop of one that does not run: %v", err)
		}
		for range 2 {
			if err := e.Start(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
			// A running one serves its files itself.
			if _, err := e.StatFile(t.Context(), c.ID, "/etc"); err != nil {
				t.Error(err)
			}
			if err := e.Stop(t.Context(), c.ID, "", -1); err != nil {
				t.Fatal(err)
			}
			if _, err := e.StatFile(t.Context(), c.ID, "/etc"); err != nil {
				t.Error(err)
			}
			// The next start does not wait for the linger.
		}
		if err := e.Remove(t.Context(), c.ID, false); err != nil {
			t.Error(err)
		}
		if got, want := e.next(5), []string{"started c1", "exited c1 0", "started c1", "exited c1 0", "removed c1"}; !slices.Equal(got, want) {
			t.Errorf("events %v", got)
		}
		if n := l.guests.maintenances(); n != 3 {
			t.Errorf("%d boots", n)
		}
		if _, err := e.StatFile(t.Context(), c.ID, "/etc"); !errdefs.IsNotFound(err) {
			t.Errorf("files of one that is gone: %v", err)
		}
	})
}

// TestFilesGiveWay: a start waits for who is at work, a removal does not; who
// attached before the start is not joined to a guest without a process.
func TestFilesGiveWay(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot(quick)
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	joined := make(chan struct{})
	attached := make(chan error, 1)
	go func() {
		attached <- e.Attach(t.Context(), c.ID, spec.Streams{Joined: sync.OnceFunc(func() { close(joined) })})
	}()
	wait(t, joined)
	busy, release := l.guests.files.hold()
	stat, started := make(chan error, 1), make(chan error, 1)
	go func() { _, err := e.StatFile(t.Context(), c.ID, "/x"); stat <- err }()
	wait(t, busy)
	go func() { started <- e.Start(context.Background(), c.ID) }()
	wait(t, makesWay(e, c.ID))
	select {
	case err := <-started:
		t.Fatalf("started under a client's work: %v", err)
	default:
	}
	late := make(chan error, 1)
	go func() { _, err := e.StatFile(t.Context(), c.ID, "/y"); late <- err }()
	release()
	for _, c := range []chan error{stat, started, late} {
		if err := wait(t, c); err != nil {
			t.Error(err)
		}
	}
	if n := l.guests.maintenances(); n != 1 || e.phase(c.ID) != spec.PhaseRunning {
		t.Errorf("%d boots, then it is %s", n, e.phase(c.ID))
	}
	if err := e.Stop(t.Context(), c.ID, "", -1); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, attached); err != nil {
		t.Errorf("attached: %v", err)
	}

	busy, _ = l.guests.files.hold()
	go func() { _, err := e.StatFile(t.Context(), c.ID, "/x"); stat <- err }()
	wait(t, busy)
	if err := e.Remove(t.Context(), c.ID, false); err != nil {
		t.Error(err)
	}
	if err := wait(t, stat); !errdefs.IsNotFound(err) {
		t.Errorf("files of one that is removed: %v", err)
	}
}

// makesWay is closed when somebody waits for a container's maintenance.
func makesWay(e *engine, id string) <-chan struct{} {
	c, err := e.find(id)
	if err != nil {
		panic(err)
	}
	return c.maintained().wanted
}

// TestFilesClientGoes: its boot is not waited for by anybody any more.
func TestFilesClientGoes(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot(quick)
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	on := make(chan struct{})
	l.guests.serve(func(g *line) { close(on); <-g.off })
	ctx, cancel := context.WithCancel(t.Context())
	stat := make(chan error, 1)
	go func() { _, err := e.StatFile(ctx, c.ID, "/x"); stat <- err }()
	wait(t, on)
	cancel()
	if err := wait(t, stat); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	e.rests(c.ID)
	// A client that leaves in the midst of its work ends that, and no other's.
	l.guests.serve(serving)
	busy, release := l.guests.files.hold()
	ctx, cancel = context.WithCancel(t.Context())
	other := make(chan error, 1)
	go func() { _, err := e.StatFile(ctx, c.ID, "/x"); stat <- err }()
	go func() { _, err := e.StatFile(t.Context(), c.ID, "/y"); other <- err }()
	wait(t, busy)
	wait(t, busy)
	cancel()
	if err := wait(t, stat); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	release()
	if err := wait(t, other); err != nil {
		t.Error(err)
	}
	e.rests(c.ID)
}

// TestFilesFaults: guests that do not come up, go, or do not go; and a power-on
// that is refused.
func TestFilesFaults(t *testing.T) {
	l := newLab(t, simulator.ESX())
	var e *engine
	c := container(1)
	for _, tt := range []struct {
		name string
		boot time.Duration
		p    program
		want string
	}{
		{"never up", time.Second, quiet, "did not come up"},
		{"turns itself off", time.Minute, func(g *line) {
			g.set([]guestinfo.Pair{{Key: guestinfo.KeyTetherState, Value: "FAILED: disks"}})
			g.halt()
		}, "FAILED: disks"},
	} {
		if e != nil {
			e.stop()
		}
		e = l.boot(quick, func(c *Config) { c.BootTimeout, c.EndTimeout = tt.boot, 100*time.Millisecond })
		if e.phase(c.ID) == phaseGone {
			if _, err := e.Create(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			e.next(1)
		}
		l.guests.serve(tt.p)
		if _, err := e.StatFile(t.Context(), c.ID, "/x"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		e.rests(c.ID)
	}
	l.guests.serve(func(g *line) { g.halt = func() {}; serving(g) })
	if _, err := e.StatFile(t.Context(), c.ID, "/x"); err != nil {
		t.Error(err)
	}
	e.rests(c.ID) // turned off the hard way
	if p := e.phase(c.ID); p != spec.PhaseCreated {
		t.Errorf("it is %s", p)
	}
	l.guests.serve(serving)
	if err := e.Start(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if got := e.next(1); got[0] != "started c1" {
		t.Errorf("events %v", got)
	}
}

// TestFilesEngineDies: the next engine takes the VM for what it is, and turns it
// off; one that somebody turned off is not marked any more.
func TestFilesEngineDies(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot(func(c *Config) { c.FilesLinger = time.Hour })
		c := container(1)
		if _, err := e.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := e.StatFile(t.Context(), c.ID, "/x"); err != nil {
			t.Fatal(err)
		}
		vm := e.vm(c.ID)
		if !vm.On() || !inMaintenance(vm) {
			t.Fatalf("VM %s mode %q", vm.Power, vm.Config[guestinfo.KeyMode])
		}
		e.stop()
		l.guests.Drop(c.ID)
		e = l.boot(quick)
		if p := e.phase(c.ID); p != spec.PhaseCreated {
			t.Errorf("the next engine takes it for %s", p)
		}
		e.rests(c.ID)
		// Marked by hand, and off.
		keys := map[string]string{guestinfo.KeyMode: guestinfo.ModeMaintenance}
		if err := l.admin.Reconfigure(t.Context(), vm.Ref, types.VirtualMachineConfigSpec{ExtraConfig: vsphere.ExtraConfig(keys)}); err != nil {
			t.Fatal(err)
		}
		if err := e.Refresh(t.Context(), vm.Ref); err != nil {
			t.Fatal(err)
		}
		e.rests(c.ID)
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if got, want := e.next(1), "started c1"; got[0] != want {
			t.Errorf("events %v", got)
		}
	})
}

// TestFilesOfVolumes: a maintenance has the container's volumes, as a run has
// them; a start takes them from it.
func TestFilesOfVolumes(t *testing.T) {
	l := newLab(t, simulator.ESX())
	vols := l.volumes("data")
	e := l.boot(func(c *Config) { c.Volumes, c.FilesLinger = vols, time.Hour })
	var cs []spec.Container
	for n := 1; n <= 2; n++ {
		c := container(n)
		c.Mounts = []spec.Mount{{Type: spec.MountVolume, Name: "data", Path: "/data"}}
		if _, err := e.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		cs = append(cs, c)
	}
	for _, c := range cs {
		if _, err := e.StatFile(t.Context(), c.ID, "/data"); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Start(t.Context(), cs[0].ID); err != nil {
		t.Fatal(err)
	}
	e.rests(cs[1].ID)
	if _, err := e.StatFile(t.Context(), cs[1].ID, "/data"); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "c1") {
		t.Errorf("files of one whose volume another writes to: %v", err)
	}
	e.rests(cs[1].ID)
}
