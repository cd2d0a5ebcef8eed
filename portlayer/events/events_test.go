package events

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

func TestBus(t *testing.T) {
	var b Bus
	ctx, cancel := context.WithCancel(t.Context())
	fast, slow := b.Subscribe(ctx), b.Subscribe(ctx)
	for i := range backlog + 1 {
		b.Publish(spec.Event{Kind: spec.EventCreated, ID: string(rune(i))})
		if e := <-fast; e.ID != string(rune(i)) {
			t.Fatalf("event %d is %q", i, e.ID)
		}
	}
	n := 0
	for range slow {
		n++
	}
	if n != backlog {
		t.Errorf("slow reader got %d events before its channel was closed", n)
	}
	cancel()
	if _, ok := <-fast; ok {
		t.Error("channel is open after the subscriber went")
	}
	b.Publish(spec.Event{})
}

// feed lets a test play vSphere's events.
type feed struct {
	watch func(ctx context.Context, subscribed func(), changes func([]vsphere.Change)) error
}

func (f feed) Watch(ctx context.Context, _ types.ManagedObjectReference, s func(), c func([]vsphere.Change)) error {
	return f.watch(ctx, s, c)
}

var _ Feed = feed{}

// book notes what was asked.
type book struct {
	mu    sync.Mutex
	calls []string
	fail  error
}

func (b *book) note(s string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, s)
	err := b.fail
	b.fail = nil
	return err
}

func (b *book) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.calls
	b.calls = nil
	return c
}

func (b *book) Sync(context.Context) error { return b.note("sync") }
func (b *book) Refresh(_ context.Context, vm types.ManagedObjectReference) error {
	return b.note("refresh " + vm.Value)
}
func (b *book) Gone(vm types.ManagedObjectReference) { _ = b.note("gone " + vm.Value) }
func (b *book) Concerns(vm types.ManagedObjectReference, _ string, isNew bool) bool {
	return vm.Value != "foreign" || isNew
}

var _ Containers = (*book)(nil)

func change(kind, vm string) vsphere.Change {
	return vsphere.Change{Kind: kind, VM: types.ManagedObjectReference{Type: "VirtualMachine", Value: vm}}
}

func TestReconciler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &book{}
		l := logrus.New()
		l.SetOutput(io.Discard)
		type call struct {
			changes []vsphere.Change
			lost    error
		}
		say := make(chan call)
		f := feed{func(ctx context.Context, subscribed func(), changes func([]vsphere.Change)) error {
			subscribed()
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case c := <-say:
					if c.lost != nil {
						return c.lost
					}
					changes(c.changes)
				}
			}
		}}
		r := New(Config{Feed: f, Containers: b, Log: logrus.NewEntry(l)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		<-r.Ready()
		expect := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if d := cmp.Diff(want, b.take()); d != "" {
				t.Errorf("%s:\n%s", what, d)
			}
		}
		expect("at start", "sync")
		say <- call{changes: []vsphere.Change{change("VmPoweredOnEvent", "a"), change("VmPoweredOffEvent", "b"), change("VmPoweredOffEvent", "a")}}
		expect("each changed VM once, in order", "refresh a", "refresh b")
		say <- call{changes: []vsphere.Change{change("VmPoweredOffEvent", "a"), change("VmRemovedEvent", "a")}}
		expect("removed", "gone a")
		say <- call{changes: []vsphere.Change{change("VmPoweredOffEvent", "foreign")}}
		expect("somebody else's")
		say <- call{changes: []vsphere.Change{change("VmRegisteredEvent", "foreign")}}
		expect("may have become ours", "refresh foreign")
		var many []vsphere.Change
		for i := range manyVMs {
			many = append(many, change("VmPoweredOffEvent", string(rune('A'+i))))
		}
		say <- call{changes: many}
		expect("a burst", "sync")

		b.fail = errdefs.ErrNotFound
		say <- call{changes: []vsphere.Change{change("VmPoweredOffEvent", "a")}}
		expect("gone meanwhile", "refresh a")
		b.fail = errors.New("vSphere is away")
		say <- call{changes: []vsphere.Change{change("VmPoweredOffEvent", "a")}}
		expect("read fails", "refresh a")
		time.Sleep(2 * time.Second)
		expect("then everything is read", "sync")

		say <- call{lost: vsphere.ErrGap}
		time.Sleep(2 * time.Second)
		expect("after a lost feed", "sync")
		time.Sleep(5 * time.Minute)
		expect("on the slow timer", "sync")
		cancel()
		if err := <-done; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}
