package collector

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// wake waits once, at most a second, and gives the objects of which it was told;
// none: nothing was heard.
func wake(t *testing.T, c *govmomi.Client, pc *property.Collector, version *string) []string {
	t.Helper()
	res, err := methods.WaitForUpdatesEx(t.Context(), c.Client, &types.WaitForUpdatesEx{This: pc.Reference(), Version: *version,
		Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(1)}})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	if res.Returnval == nil {
		return out
	}
	*version = res.Returnval.Version
	for _, f := range res.Returnval.FilterSet {
		for _, o := range f.ObjectSet {
			out = append(out, string(o.Kind)+" "+o.Obj.Value)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestHears: a collector hears of the objects that its filters are for, also of
// those that it finds by a path, of a filter that is made late, and when it is used
// anew; and of no other.
func TestHears(t *testing.T) {
	c, m := connect(t)
	pc, err := property.DefaultCollector(c.Client).Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Destroy(context.Background())
	mine, other := begin(m, "task-mine"), begin(m, "task-other")
	add := func(f *property.WaitFilter) *property.Filter {
		t.Helper()
		made, err := pc.CreateFilter(t.Context(), f.CreateFilter)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	step := func(task *simulator.Task) {
		change(m, task, types.PropertyChange{Name: "info.state", Val: types.TaskInfoStateRunning})
	}
	first := add(new(property.WaitFilter).Add(mine.Self, "Task", []string{"info.state"}))
	version := ""
	want := func(what string, objects ...string) {
		t.Helper()
		if got := wake(t, c, pc, &version); !slices.Equal(got, objects) {
			t.Errorf("%s: heard %q, want %q", what, got, objects)
		}
	}
	want("first look", "enter task-mine")
	step(other)
	step(mine)
	want("own task", "modify task-mine")
	step(other)
	want("another's task")

	add(new(property.WaitFilter).Add(other.Self, "Task", []string{"info.state"}))
	want("a filter made late", "enter task-other")
	step(other)
	want("its object", "modify task-other")
	if err := first.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	step(mine)
	want("a filter that has ended")

	version = ""
	want("used anew")
	step(other)
	want("then", "modify task-other")

	host := m.Any("HostSystem").Reference()
	add(new(property.WaitFilter).Add(host, "VirtualMachine", []string{"name"}, &types.TraversalSpec{Type: "HostSystem", Path: "vm"}))
	vms := m.All("VirtualMachine")
	if got := wake(t, c, pc, &version); len(got) != len(vms) {
		t.Errorf("found by a path: %q", got)
	}
	vm := vms[0].(*simulator.VirtualMachine)
	m.AtomicUpdate(&simulator.Context{Map: m}, vm, []types.PropertyChange{{Name: "name", Val: "new"}})
	want("what a path leads to", "modify "+vm.Self.Value)
	m.Remove(&simulator.Context{Map: m}, other.Self)
	want("its end", "leave task-other")
}

// counted is an object that counts how often it is read.
type counted struct {
	mo.Folder
	reads atomic.Int32
}

func (c *counted) Get() mo.Reference {
	c.reads.Add(1)
	return &c.Folder
}

// TestQuiet: changes of what nobody has asked for cost nothing, neither a collector
// with filters nor one that is kept for later.
func TestQuiet(t *testing.T) {
	ctx := &simulator.Context{Map: simulator.NewRegistry()}
	ctx.Session = &simulator.Session{Registry: simulator.NewRegistry(), Map: ctx.Map}
	o := &counted{Folder: mo.Folder{ManagedEntity: mo.ManagedEntity{Name: "mine"}}}
	o.Self = types.ManagedObjectReference{Type: "Folder", Value: "mine"}
	ctx.Map.Put(o)
	c := &Collector{}
	c.Self.Type = "PropertyCollector"
	ref := ctx.Session.Put(c).Reference()
	look := func(version string) *types.UpdateSet {
		t.Helper()
		body := c.WaitForUpdatesEx(ctx, &types.WaitForUpdatesEx{This: ref, Version: version, Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(0)}})
		return body.(*methods.WaitForUpdatesExBody).Res.Returnval
	}
	req := new(property.WaitFilter).Add(o.Self, "Folder", []string{"name"}).CreateFilter
	c.CreateFilter(ctx, &req)
	if set := look(""); len(set.FilterSet) != 1 {
		t.Fatalf("first look: %v", set)
	}
	before := o.reads.Load()
	for range 10 {
		other := &simulator.Folder{}
		other.Self = types.ManagedObjectReference{Type: "Folder", Value: "other"}
		ctx.Map.Put(other)
		ctx.Map.AtomicUpdate(ctx, other, []types.PropertyChange{{Name: "name", Val: "new"}})
		ctx.Map.Remove(ctx, other.Self)
	}
	if set := look("-"); set != nil {
		t.Errorf("heard %v", set)
	}
	if n := o.reads.Load() - before; n != 0 {
		t.Errorf("read %d times for the changes of others", n)
	}
	ctx.Map.AtomicUpdate(ctx, o, []types.PropertyChange{{Name: "name", Val: "new"}})
	if set := look("-"); set == nil || len(set.FilterSet) != 1 {
		t.Errorf("of its own change: %v", set)
	}
	if o.reads.Load() == before {
		t.Error("reads are not counted")
	}
}
