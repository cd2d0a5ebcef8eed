package collector

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// connect gives a client of a simulator of ESXi with Collectors.
func connect(t *testing.T) (*govmomi.Client, *simulator.Registry) {
	t.Helper()
	return connectTo(t, simulator.ESX())
}

// connectTo does so for another model.
func connectTo(t *testing.T, m *simulator.Model) (*govmomi.Client, *simulator.Registry) {
	t.Helper()
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	Install(m.Map())
	srv := m.Service.NewServer()
	t.Cleanup(srv.Close)
	c, err := govmomi.NewClient(t.Context(), srv.URL, true)
	if err != nil {
		t.Fatal(err)
	}
	return c, m.Map()
}

// begin puts a running task into the inventory.
func begin(m *simulator.Registry, value string) *simulator.Task {
	task := simulator.CreateTask(m.Any("VirtualMachine"), "work", nil)
	task.Self = types.ManagedObjectReference{Type: "Task", Value: value}
	task.Info.Key, task.Info.Task, task.Info.State = value, task.Self, types.TaskInfoStateRunning
	m.Put(task)
	return task
}

// change writes a task as its goroutine does.
func change(m *simulator.Registry, task *simulator.Task, set ...types.PropertyChange) {
	m.AtomicUpdate(&simulator.Context{Map: m}, task, set)
}

// TestWholeInfo is for the race detector: a client waits for the info of a task
// that changes all the time.
func TestWholeInfo(t *testing.T) {
	c, m := connect(t)
	task := begin(m, "task-busy")
	seen := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer func() {
			change(m, task, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess},
				types.PropertyChange{Name: "info.result", Val: "done"})
		}()
		for n := int32(0); ; n = (n + 1) % 100 {
			change(m, task, types.PropertyChange{Name: "info.progress", Val: n},
				types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateRunning})
			select {
			case <-seen:
				return
			default:
			}
		}
	})
	defer wg.Wait()
	updates := 0
	var last types.TaskInfo
	err := property.Wait(t.Context(), property.DefaultCollector(c.Client), task.Self, []string{"info"}, func(set []types.PropertyChange) bool {
		for _, p := range set {
			v, ok := p.Val.(types.TaskInfo)
			if !ok || p.Name != "info" || p.Op != types.PropertyChangeOpAssign {
				t.Errorf("got %s %s of %T", p.Op, p.Name, p.Val)
				continue
			}
			if last = v; v.Key != "task-busy" {
				t.Errorf("info of %q", v.Key)
			}
		}
		if updates++; updates == 20 {
			close(seen)
		}
		return last.State == types.TaskInfoStateSuccess
	})
	if err != nil {
		t.Fatal(err)
	}
	if last.Result != "done" {
		t.Errorf("result %v", last.Result)
	}
}

// waited gives the names of the properties that one wait shows.
func waited(t *testing.T, c *govmomi.Client, pc types.ManagedObjectReference, version *string) []string {
	t.Helper()
	res, err := methods.WaitForUpdatesEx(t.Context(), c.Client, &types.WaitForUpdatesEx{This: pc, Version: *version})
	if err != nil {
		t.Fatal(err)
	}
	*version = res.Returnval.Version
	var out []string
	for _, f := range res.Returnval.FilterSet {
		for _, o := range f.ObjectSet {
			for _, p := range o.ChangeSet {
				out = append(out, p.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestPaths(t *testing.T) {
	c, m := connect(t)
	for name, x := range map[string]struct{ ask, first, then []string }{
		"whole": {[]string{"info"}, []string{"info"}, []string{"info"}},
		"part":  {[]string{"info.state"}, []string{"info.state"}, []string{"info.state"}},
		"both":  {[]string{"info", "info.state"}, []string{"info", "info.state"}, []string{"info", "info.state"}},
		"other": {[]string{"info", "info.key"}, []string{"info", "info.key"}, []string{"info"}},
	} {
		t.Run(name, func(t *testing.T) {
			task := begin(m, "task-"+name)
			pc, err := property.DefaultCollector(c.Client).Create(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Destroy(context.Background())
			if got := pc.Reference().Type; got != "PropertyCollector" {
				t.Errorf("made a %s", got)
			}
			filter := new(property.WaitFilter).Add(task.Self, "Task", x.ask)
			if _, err := pc.CreateFilter(t.Context(), filter.CreateFilter); err != nil {
				t.Fatal(err)
			}
			version := ""
			if got := waited(t, c, pc.Reference(), &version); !slices.Equal(got, x.first) {
				t.Errorf("first %q, want %q", got, x.first)
			}
			change(m, task, types.PropertyChange{Name: "info.completeTime", Val: task.Info.QueueTime},
				types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateSuccess})
			if got := waited(t, c, pc.Reference(), &version); !slices.Equal(got, x.then) {
				t.Errorf("then %q, want %q", got, x.then)
			}
		})
	}
}

// TestFiltersForgotten: a collector that is used for one task after the other
// keeps nothing of the filters that ended.
func TestFiltersForgotten(t *testing.T) {
	ctx := &simulator.Context{Map: simulator.NewRegistry()}
	ctx.Session = &simulator.Session{Registry: simulator.NewRegistry(), Map: ctx.Map}
	var c Collector
	req := new(property.WaitFilter).Add(types.ManagedObjectReference{Type: "Task", Value: "task-1"}, "Task", []string{"info"}).CreateFilter
	for range 5 {
		ref := c.CreateFilter(ctx, &req).(*methods.CreateFilterBody).Res.Returnval
		ctx.Session.Get(ref).(*simulator.PropertyFilter).DestroyPropertyFilter(ctx, &types.DestroyPropertyFilter{This: ref})
	}
	if len(c.filters) != 1 {
		t.Errorf("%d filters noted, want the last", len(c.filters))
	}
}

// TestDestroyEndsWaits: also one that begins at that moment.
func TestDestroyEndsWaits(t *testing.T) {
	ctx := &simulator.Context{Map: simulator.NewRegistry()}
	ctx.Session = &simulator.Session{Registry: simulator.NewRegistry(), Map: ctx.Map}
	var wg sync.WaitGroup
	for range 500 {
		c := &Collector{}
		c.Self.Type = "PropertyCollector"
		ref := ctx.Session.Put(c).Reference()
		wg.Go(func() { c.WaitForUpdatesEx(ctx, &types.WaitForUpdatesEx{This: ref, Version: "-"}) })
		wg.Go(func() { c.DestroyPropertyCollector(ctx, &types.DestroyPropertyCollector{This: ref}) })
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a wait goes on")
	}
}

// TestTasksByClients awaits many tasks at once, as the simulator runs them.
func TestTasksByClients(t *testing.T) {
	c, m := connect(t)
	vm := object.NewVirtualMachine(c.Client, m.Any("VirtualMachine").Reference())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				task, err := vm.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{Annotation: "x"})
				if err == nil {
					err = task.Wait(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
