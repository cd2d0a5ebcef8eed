package exec

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	viclab "github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/collector"
	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/events"
	"github.com/vic-engine/vic/portlayer/network"
)

const vch = "564d1f3b-7d3e-4b1f-8c9a-0d6f5e4c3b2a"

// lab is a simulated vSphere with guests that do as the test's programs say.
type lab struct {
	t      *testing.T
	cfg    vsphere.Config
	dsName string
	group  string // port group
	pool   string
	admin  *vsphere.Session // as an administrator, and as the guests' host
	place  vsphere.Place
	ds     *vsphere.Datastore
	images *images
	guests *guests
	own    *viclab.Lab // nil on the plain simulator
}

// newLab is govmomi's simulator almost as it is: quick to make.
func newLab(t *testing.T, m *simulator.Model) *lab {
	t.Helper()
	m.Machine = 0
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	m.Service.TLS = new(tls.Config)
	m.Service.Listen = &url.URL{User: url.UserPassword("root", "secret")}
	m.Service.RegisterEndpoints = true
	collector.Install(m.Map())
	srv := m.Service.NewServer()
	t.Cleanup(func() { srv.Close(); m.Remove() })
	l := &lab{t: t, dsName: "LocalDS_0", group: "VM Network", guests: newGuests()}
	l.cfg = vsphere.Config{URL: srv.URL.Scheme + "://" + srv.URL.Host + "/sdk", User: "root", Password: "secret", Insecure: true}
	if m.ServiceContent.About.ApiType == "VirtualCenter" {
		l.group, l.pool = "DC0_DVPG0", "DC0_C0/Resources"
	}
	m.Map().AddHandler(&simHost{l: l, lines: map[types.ManagedObjectReference]*line{}})
	return l.furnish()
}

// furnish makes what an installed VCH has.
func (l *lab) furnish() *lab {
	l.t.Helper()
	l.admin = l.dial()
	var err error
	if l.place, err = l.admin.Place(l.t.Context(), vsphere.PlaceConfig{Pool: l.pool}); err != nil {
		l.t.Fatal(err)
	}
	if l.ds, err = l.admin.Datastore(l.t.Context(), vsphere.DatastoreConfig{Name: l.dsName, Pool: &l.place.Pool}); err != nil {
		l.t.Fatal(err)
	}
	l.images = &images{ds: l.ds}
	l.makeDisk("blank.vmdk")
	l.makeDisk("image.vmdk")
	if err := l.ds.Put(l.t.Context(), l.ds.Path("bootstrap.iso"), strings.NewReader("iso"), 3); err != nil {
		l.t.Fatal(err)
	}
	return l
}

func (l *lab) dial() *vsphere.Session {
	l.t.Helper()
	s, err := vsphere.Dial(l.t.Context(), l.cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = s.Logout(context.Background()) })
	return s
}

func (l *lab) makeDisk(name string) {
	l.t.Helper()
	vdm := object.NewVirtualDiskManager(l.admin.Client())
	dc := object.NewDatacenter(l.admin.Client(), l.place.Datacenter)
	task, err := vdm.CreateVirtualDisk(l.t.Context(), l.ds.Path(name), dc, &types.FileBackedVirtualDiskSpec{
		VirtualDiskSpec: types.VirtualDiskSpec{AdapterType: "lsiLogic", DiskType: "thin"}, CapacityKb: 1024,
	})
	if err == nil {
		err = task.Wait(l.t.Context())
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// images has one image, one blank disk.
type images struct {
	ds   *vsphere.Datastore
	fail error
}

func (i *images) CloneRoot(ctx context.Context, path string, _ int64) error {
	if i.fail != nil {
		return i.fail
	}
	return i.ds.CopyDisk(ctx, i.ds.Path("blank.vmdk"), path)
}

func (i *images) Disk(context.Context, string) (string, error) { return i.ds.Path("image.vmdk"), nil }

var _ Images = (*images)(nil)

// engine is one life of the engine: a manager with its reconciler.
type engine struct {
	*Manager
	lab    *lab
	events <-chan spec.Event
	rec    *events.Reconciler
	stop   func()
}

// holds tells whether a container has addresses.
func holds(leases *network.Leases, id string) bool {
	for _, sc := range leases.State().Scopes {
		for _, owner := range sc.Leases {
			if owner == id {
				return true
			}
		}
	}
	return false
}

// boot starts an engine and waits until it knows all containers.
func (l *lab) boot(change ...func(*Config)) *engine {
	l.t.Helper()
	s := l.dial()
	place, err := s.Place(l.t.Context(), vsphere.PlaceConfig{Pool: l.pool})
	if err != nil {
		l.t.Fatal(err)
	}
	ds, err := s.Datastore(l.t.Context(), vsphere.DatastoreConfig{Name: l.dsName, Pool: &place.Pool})
	if err != nil {
		l.t.Fatal(err)
	}
	state, err := network.New(network.Config{VCH: vch, PortGroup: l.group})
	if err != nil {
		l.t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	if testing.Verbose() {
		log.SetOutput(l.t.Output())
		log.SetLevel(logrus.DebugLevel)
	}
	var bus events.Bus
	cfg := Config{
		VCH: vch, AuthorizedKey: "ssh-ed25519 AAAA", VSphere: s, Place: place,
		Datastore: ds, DatastoreName: ds.Name(), DatastoreRef: ds.Reference(), Marks: ds.Path("VIC", vch, "creating"),
		BootstrapISO: ds.Path("bootstrap.iso"), BootstrapRef: ds.Reference(),
		Line:   func() (string, error) { return "tcp://10.118.0.10:8080", nil },
		Images: l.images, Lines: l.guests, Leases: network.NewLeases(state),
		BootTimeout: 30 * time.Second, EndTimeout: time.Second,
		Log: logrus.NewEntry(log),
	}
	cfg.Publish = func(ev spec.Event) {
		if ev.Kind == spec.EventRemoved && holds(cfg.Leases, ev.ID) {
			l.t.Errorf("container %s is said to be removed, and has addresses still", ev.ID)
		}
		bus.Publish(ev)
	}
	for _, c := range change {
		c(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.guests.report(m)
	ctx, cancel := context.WithCancel(context.Background())
	e := &engine{Manager: m, lab: l, events: bus.Subscribe(ctx)}
	e.rec = events.New(events.Config{Feed: s, Folder: place.Folder, Containers: m, Log: cfg.Log})
	done := make(chan error, 1)
	go func() { done <- e.rec.Run(ctx) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("reconciler: %v", err)
		}
		m.Close()
	})
	l.t.Cleanup(e.stop)
	wait(l.t, e.rec.Ready())
	if err := m.CleanUp(ctx); err != nil {
		l.t.Fatal(err)
	}
	return e
}

func container(n int) spec.Container {
	return spec.Container{
		ID: fmt.Sprintf("%064x", n), Name: fmt.Sprintf("c%d", n), Repo: "busybox",
		ImageID: "sha256:" + strings.Repeat("ab", 32), Process: spec.Process{Path: "/bin/sh"},
		Endpoints: []spec.Endpoint{{Network: "bridge"}},
	}
}

// files names everything on the datastore, and all VMs. The mark of a create that
// worked goes a moment after it: that is waited for.
func (l *lab) files() string {
	l.t.Helper()
	text := l.listing()
	for end := time.Now().Add(patience); strings.Contains(text, "/creating/") && time.Now().Before(end); text = l.listing() {
		time.Sleep(5 * time.Millisecond)
	}
	return text
}

func (l *lab) listing() string {
	l.t.Helper()
	var b strings.Builder
	var walk func(dir string)
	walk = func(dir string) {
		es, err := l.ds.List(context.Background(), l.ds.Path(dir))
		if err != nil {
			l.t.Fatal(err)
		}
		for _, e := range es {
			p := strings.TrimPrefix(dir+"/"+e.Name, "/")
			b.WriteString(p + "\n")
			if e.Dir {
				walk(p)
			}
		}
	}
	walk("")
	vms, err := l.admin.VMs(context.Background(), l.place.Pool)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, v := range vms {
		b.WriteString("VM " + v.Name + "\n")
	}
	return b.String()
}

// program is what a guest does after its boot.
type program func(g *line)

// guests stand in for tether and the concentrator: a VM that is powered on runs
// its program.
type guests struct {
	mu      sync.Mutex
	m       *Manager
	program map[string]program // by container id; default: run until stopped
	line    map[string]*line   // those that are up
	changed chan struct{}      // closed and renewed when a line comes up
	served  program            // of guests that only serve files
	boots   int                // of those
	files   fileServer
	noRoom  error // of the host of a VM that grows
}

func newGuests() *guests {
	return &guests{line: map[string]*line{}, program: map[string]program{}, changed: make(chan struct{}), served: serving}
}

// line is one boot.
type line struct {
	g    *guests
	id   string
	set  func([]guestinfo.Pair) // guestinfo
	halt func()                 // power off from inside
	off  chan struct{}          // closed when the VM is off
	over chan struct{}          // closed by Drop
	// ended is closed when the process has ended and all output was sent.
	ended chan struct{}

	released chan struct{}
	signals  chan string
	joined   chan spec.Streams
	// frames are live output, following gets the positions that readers ask for.
	frames    chan logframe.Frame
	following chan logframe.Position
	updates   chan spec.NetworkUpdate // of networks; what nobody reads is lost
	// startErr is what Release gives; pid 7 else.
	startErr error
	// maintenance: the guest only serves files.
	maintenance bool
	controlled
}

func (g *guests) boot(id string, set func([]guestinfo.Pair), halt func()) *line {
	return &line{
		g: g, id: id, set: set, halt: halt, off: make(chan struct{}), over: make(chan struct{}), ended: make(chan struct{}),
		released: make(chan struct{}), signals: make(chan string, 10), joined: make(chan spec.Streams, 10),
		frames: make(chan logframe.Frame), following: make(chan logframe.Position, 10),
		updates: make(chan spec.NetworkUpdate, 10),
	}
}

func (g *guests) report(m *Manager) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.m = m
}

func (g *guests) manager() *Manager {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.m
}

// work runs the program of a VM that is on.
func (g *guests) work(l *line) {
	g.mu.Lock()
	p, served := g.program[l.id], g.served
	g.mu.Unlock()
	if p == nil {
		p = service
	}
	if l.maintenance {
		p = served
	}
	p(l)
}

// simHost runs guests for the plain simulator, which only says that VMs are on.
type simHost struct {
	l     *lab
	mu    sync.Mutex
	lines map[types.ManagedObjectReference]*line
}

func (h *simHost) Reference() types.ManagedObjectReference                       { return types.ManagedObjectReference{} }
func (h *simHost) PutObject(*simulator.Context, mo.Reference)                    {}
func (h *simHost) RemoveObject(*simulator.Context, types.ManagedObjectReference) {}

// UpdateObject sees each change of the simulated inventory.
func (h *simHost) UpdateObject(_ *simulator.Context, o mo.Reference, pc []types.PropertyChange) {
	ref := o.Reference()
	for _, c := range pc {
		state, ok := c.Val.(types.VirtualMachinePowerState)
		if c.Name != "runtime.powerState" || !ok {
			continue
		}
		if state == types.VirtualMachinePowerStatePoweredOn {
			go h.on(ref)
			continue
		}
		h.mu.Lock()
		if l := h.lines[ref]; l != nil {
			close(l.off)
			delete(h.lines, ref)
		}
		h.mu.Unlock()
	}
}

func (h *simHost) on(ref types.ManagedObjectReference) {
	ctx, admin := context.Background(), h.l.admin
	v, err := admin.VM(ctx, ref)
	if err != nil {
		return // the lab has ended
	}
	l := h.l.guests.boot(v.Config[guestinfo.KeyID], func(pairs []guestinfo.Pair) {
		keys := map[string]string{}
		for _, p := range pairs {
			keys[p.Key] = p.Value
		}
		_ = admin.Reconfigure(ctx, ref, types.VirtualMachineConfigSpec{ExtraConfig: vsphere.ExtraConfig(keys)})
	}, func() { _ = admin.PowerOff(ctx, ref) })
	l.maintenance = inMaintenance(v)
	h.mu.Lock()
	h.lines[ref] = l
	h.mu.Unlock()
	h.l.guests.work(l)
}

func (g *guests) run(id string, p program) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.program[id] = p
}

// up makes the line known to the engine.
func (l *line) up() {
	l.g.mu.Lock()
	l.g.line[l.id] = l
	close(l.g.changed)
	l.g.changed = make(chan struct{})
	l.g.mu.Unlock()
	if m := l.g.manager(); m != nil {
		m.OnLine(l.id)
	}
}

// exit ends the process as tether does: guestinfo, line, power-off.
func (l *line) exit(e spec.ExitStatus) {
	close(l.ended)
	if e.Stopped.IsZero() {
		e.Stopped = time.Now().UTC()
	}
	l.set(guestinfo.ExitedPairs(l.id, e))
	if m := l.g.manager(); m != nil {
		m.OnExited(l.id, e)
	}
	l.halt()
}

// start starts the process as tether does.
func (l *line) start() time.Time {
	at := time.Now().UTC()
	l.set(guestinfo.StartedPairs(l.id, 7, at))
	if m := l.g.manager(); m != nil {
		m.OnStarted(l.id, 7, time.Time{})
	}
	return at
}

// service runs until TERM, which ends it with 0, or KILL.
func service(l *line) {
	l.up()
	at := l.start()
	for {
		select {
		case <-l.off:
			return
		case s := <-l.signals:
			switch s {
			case "SIGTERM":
				l.exit(spec.ExitStatus{Started: at})
				return
			case "KILL":
				l.exit(spec.ExitStatus{Started: at, Code: 137, Signal: 9})
				return
			}
		}
	}
}

// job runs at once to its end with a code.
func job(code int) program {
	return func(l *line) {
		l.up()
		at := l.start()
		l.exit(spec.ExitStatus{Started: at, Code: code})
	}
}

// quiet never says anything.
func quiet(l *line) { <-l.off }

// Session gives the line of a guest that is up.
func (g *guests) Session(ctx context.Context, id string) (Line, error) {
	for {
		g.mu.Lock()
		l, changed := g.line[id], g.changed
		g.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (g *guests) Drop(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.line[id]; l != nil {
		close(l.over)
		delete(g.line, id)
	}
}

var _ Lines = (*guests)(nil)

func (l *line) Release(ctx context.Context) (int, error) {
	select {
	case <-l.released:
	default:
		close(l.released)
	}
	return 7, l.startErr
}

// Attach hands the streams to the program, which says when it is over by closing
// the line.
func (l *line) Attach(ctx context.Context, s spec.Streams) error {
	s.Joined()
	l.joined <- s
	select {
	case <-l.ended:
		return nil
	case <-l.over:
		return fmt.Errorf("the line was lost: %w", errdefs.ErrUnavailable)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *line) Exec(_ context.Context, exec string, p spec.Process, s spec.Streams, started func(int)) (spec.ExitStatus, error) {
	started(8)
	_, err := fmt.Fprintf(s.Stdout, "%s: %s", exec, p.Path)
	return spec.ExitStatus{Code: 3}, err
}

func (l *line) Signal(_ context.Context, exec, s string) error {
	if exec != "" {
		return errors.New("signal of exec " + exec + " " + s)
	}
	l.signals <- s
	return nil
}

func (l *line) Resize(context.Context, string, int, int) error { return nil }
func (l *line) Grow(context.Context, int) error                { return nil }

func (l *line) Network(_ context.Context, u spec.NetworkUpdate) error {
	select {
	case l.updates <- u:
	default:
	}
	return nil
}

// Follow gives what the program puts out, and ends with the line.
func (l *line) Follow(ctx context.Context, after logframe.Position, each func(logframe.Frame) error) error {
	l.following <- after
	for {
		select {
		case f := <-l.frames:
			if err := each(f); err != nil {
				return err
			}
		case <-l.ended:
			return nil
		case <-l.over:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var _ Line = (*line)(nil)

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// next gives the next events, in words.
func (e *engine) next(n int) []string {
	e.lab.t.Helper()
	var out []string
	for range n {
		ev := wait(e.lab.t, e.events)
		s := fmt.Sprintf("%s %s", ev.Kind, ev.View.Container.Name)
		if ev.Kind == spec.EventExited {
			s += fmt.Sprintf(" %d", ev.View.Status.Exit.Code)
		}
		if ev.External {
			s += " external"
		}
		out = append(out, s)
	}
	return out
}

func (e *engine) phase(id string) spec.Phase {
	v, err := e.Container(id)
	if err != nil {
		return phaseGone
	}
	return v.Status.Phase
}
