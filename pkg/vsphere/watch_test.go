package vsphere

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// What happens while the last changes are seen to comes too, each once and in order.
func TestWatchBurst(t *testing.T) {
	s := newSim(t, simulator.VPX())
	se := s.dial(t)
	p, err := se.Place(t.Context(), PlaceConfig{Pool: "DC0_C0/Resources"})
	if err != nil {
		t.Fatal(err)
	}
	vms, err := se.VMs(t.Context(), p.Pool)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	subscribed, busy, goOn, ended := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan error, 1)
	got := make(chan Change, missedEvents)
	go func() {
		ended <- se.Watch(ctx, p.Folder, func() { close(subscribed) }, func(cs []Change) {
			for _, c := range cs {
				got <- c
				if c.Kind == "VmPoweredOffEvent" {
					busy <- struct{}{}
					<-goOn
				}
			}
		})
	}()
	await(t, subscribed)
	post := func(e types.BaseEvent) {
		t.Helper()
		e.GetEvent().Vm = &types.VmEventArgument{EntityEventArgument: types.EntityEventArgument{Name: vms[0].Name}, Vm: vms[0].Ref}
		// The simulator makes sentences with their names.
		e.GetEvent().Host, e.GetEvent().Datacenter = new(types.HostEventArgument), new(types.DatacenterEventArgument)
		if err := event.NewManager(se.vim).PostEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	post(new(types.VmPoweredOffEvent))
	await(t, busy)
	expect(t, got, vms[0], "VmPoweredOffEvent")
	const n = 10 * pageSize
	for range n {
		post(new(types.VmReconfiguredEvent))
	}
	goOn <- struct{}{}
	last := int32(0)
	for range n {
		c := await(t, got)
		if c.key <= last || c.Kind != "VmReconfiguredEvent" {
			t.Fatalf("%s %d after %d", c.Kind, c.key, last)
		}
		last = c.key
	}
	cancel()
	if err := await(t, ended); !errors.Is(err, context.Canceled) {
		t.Errorf("watch ended with %v", err)
	}
}

// What is behind the latest page is read, the newest first, up to missedEvents.
func TestPreviousEvents(t *testing.T) {
	s := newSim(t, simulator.VPX())
	se := s.dial(t)
	m := event.NewManager(se.vim)
	h, err := m.CreateCollectorForEvents(t.Context(), types.EventFilterSpec{EventTypeId: []string{"GeneralUserEvent"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetPageSize(t.Context(), pageSize); err != nil {
		t.Fatal(err)
	}
	posted := 0
	for _, total := range []int{20, 2 * missedEvents} {
		for ; posted < total; posted++ {
			if err := m.PostEvent(t.Context(), new(types.GeneralUserEvent)); err != nil {
				t.Fatal(err)
			}
		}
		got, err := previous(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		page, err := h.LatestPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		keys := map[int32]bool{}
		for _, e := range append(page, got...) {
			keys[e.GetEvent().Key] = true
		}
		newest := page[0].GetEvent().Key
		for i := range int32(min(total, missedEvents)) {
			if !keys[newest-i] {
				t.Errorf("of %d events, the newest but %d is neither on the page nor behind it", total, i)
			}
		}
	}
}

func TestTail(t *testing.T) {
	page := func(keys ...int32) []types.BaseEvent {
		var out []types.BaseEvent
		for _, k := range keys {
			e := &types.VmPoweredOnEvent{}
			e.Key = k
			e.Vm = &types.VmEventArgument{}
			out = append(out, e)
		}
		return out
	}
	seq := func(from, n int32) (keys []int32) { // the newest first
		for i := from + n - 1; i >= from; i-- {
			keys = append(keys, i)
		}
		return keys
	}
	ascending := func(keys []int32) []int32 { slices.Reverse(keys); return keys }
	var tl tail
	steps := []struct {
		name string
		page []types.BaseEvent
		want []int32
		// previous is what is read behind the page.
		previous []types.BaseEvent
		err      error
	}{
		{"first page is the past", page(3, 2, 1), []int32{1, 2, 3}, nil, nil},
		{"same page", page(3, 2, 1), nil, nil, nil},
		{"two new", page(5, 4, 3, 2, 1), []int32{4, 5}, nil, nil},
		{"only new, fewer than a page", page(7), []int32{7}, nil, nil},
		{"twice in one update", append(page(8), page(8)...), []int32{8}, nil, nil},
		{"full page of new ones, of which none is missing", page(seq(9, pageSize)...), ascending(seq(9, pageSize)), page(8, 7, 6), nil},
		{"full page of new ones, and all that there was before", page(seq(20, pageSize)...), ascending(seq(18, pageSize+2)), page(19, 18), nil},
		{"more than the page holds, which moved on meanwhile", page(seq(40, pageSize)...), ascending(seq(25, 25)), page(seq(10, 40)...), nil},
		{"more than is read", page(seq(500, pageSize)...), nil, page(seq(400, missedEvents)...), ErrGap},
	}
	for _, st := range steps {
		read := false
		fresh, err := tl.add(st.page, func() ([]types.BaseEvent, error) { read = true; return st.previous, nil })
		if !errors.Is(err, st.err) || read != (st.previous != nil) {
			t.Errorf("%s: %v, read behind it: %v", st.name, err, read)
		}
		var got []int32
		for _, c := range fresh {
			got = append(got, c.key)
		}
		if len(got) != len(st.want) {
			t.Errorf("%s: got %v, want %v", st.name, got, st.want)
			continue
		}
		for i := range got {
			if got[i] != st.want[i] {
				t.Errorf("%s: got %v, want %v", st.name, got, st.want)
			}
		}
	}
}
