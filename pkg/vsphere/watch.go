package vsphere

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sort"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// pageSize is how many events one look at the feed holds. At each new event a
// server sends the whole page (govmomi's event.Manager relies on that), and a
// reconfiguration's event holds all that was asked for, a few KiB: with 25 of them
// the VCH read for 30 ms at each change of a container. What a burst pushes off the
// page is asked for.
const pageSize = 5

// missedEvents is how many events are asked for behind a page of which none is
// known. A burst larger than that is a gap, which is told apart and followed by a
// resync.
const missedEvents = 100

// ErrGap ends a Watch that may have missed events: read everything again.
var ErrGap = fmt.Errorf("more events at once than the feed holds: %w", errdefs.ErrUnavailable)

// Change tells that something happened to a VM. It is a hint to read the VM,
// not a state.
type Change struct {
	VM types.ManagedObjectReference
	// Kind is the event's type, "VmPoweredOffEvent".
	Kind string
	// Name is the VM's name at the event; Time the server's.
	Name string
	Time time.Time
	key  int32
}

// Removed tells that the VM is not in the inventory any more.
func (c Change) Removed() bool { return c.Kind == "VmRemovedEvent" }

// watchedEvents are those after which a VM's power state, name, configuration
// or place may differ.
func watchedEvents() []string {
	return []string{
		"VmCreatedEvent", "VmClonedEvent", "VmRegisteredEvent", "VmRemovedEvent",
		"VmPoweredOnEvent", "DrsVmPoweredOnEvent", "VmRestartedOnAlternateHostEvent",
		"VmPoweredOffEvent", "VmPoweredOffOnIsolationEvent", "VmSuspendedEvent", "VmGuestShutdownEvent", "VmResettingEvent",
		"VmRenamedEvent", "VmReconfiguredEvent",
		"VmMigratedEvent", "DrsVmMigratedEvent", "VmRelocatedEvent", "VmResourcePoolMovedEvent",
		"VmConnectedEvent", "VmDisconnectedEvent", "VmOrphanedEvent",
	}
}

// Watch follows the events of the VMs below entity (a folder, also on a single
// host) until ctx is done or the feed is lost. subscribed is called once, when
// nothing that happens from then on is missed: read the state after it. Changes
// come in order. Both functions are called from this goroutine. It always
// returns an error: ctx's, ErrGap, or why the feed ended.
func (s *Session) Watch(ctx context.Context, entity types.ManagedObjectReference, subscribed func(), changes func([]Change)) error {
	filter := types.EventFilterSpec{
		Entity:      &types.EventFilterSpecByEntity{Entity: entity, Recursion: types.EventFilterSpecRecursionOptionAll},
		EventTypeId: watchedEvents(),
	}
	h, err := event.NewManager(s.vim).CreateCollectorForEvents(ctx, filter)
	if err != nil {
		return ctxErr(ctx, Classify(fmt.Errorf("follow events of %s: %w", entity.Value, err)))
	}
	defer func() {
		late, cancel := cleanup(ctx)
		defer cancel()
		_ = h.Destroy(late) // it ends with the session at the latest
	}()
	if err := h.SetPageSize(ctx, pageSize); err != nil {
		return ctxErr(ctx, Classify(fmt.Errorf("follow events of %s: %w", entity.Value, err)))
	}
	err = s.follow(ctx, h, subscribed, changes)
	if errors.Is(err, ErrGap) {
		return err
	}
	return ctxErr(ctx, Classify(fmt.Errorf("follow events of %s: %w", entity.Value, err)))
}

func (s *Session) follow(ctx context.Context, h *event.HistoryCollector, subscribed func(), changes func([]Change)) error {
	pc, err := property.DefaultCollector(s.vim).Create(ctx)
	if err != nil {
		return err
	}
	defer s.dropCollector(ctx, pc)
	filter := new(property.WaitFilter).Add(h.Reference(), h.Reference().Type, []string{"latestPage"})
	if _, err := pc.CreateFilter(ctx, filter.CreateFilter); err != nil {
		return err
	}
	var tail tail
	version := ""
	for {
		res, err := methods.WaitForUpdatesEx(ctx, s.vim, &types.WaitForUpdatesEx{
			This: pc.Reference(), Version: version,
			Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(maxWait)},
		})
		if err != nil {
			return err
		}
		if res.Returnval == nil {
			continue
		}
		first := version == ""
		version = res.Returnval.Version
		fresh, err := tail.add(events(res.Returnval), func() ([]types.BaseEvent, error) { return previous(ctx, h) })
		switch {
		case err != nil:
			return err
		case first:
			subscribed()
		case len(fresh) > 0:
			changes(fresh)
		}
	}
}

// previous reads the newest events before the latest page, which may have moved on
// since it was sent: some may be in both, or newer. Fewer than missedEvents are all
// that there are: a server may give fewer at a time, and gives none at the end
// (ReadPreviousEvents of the vSphere API).
func previous(ctx context.Context, h *event.HistoryCollector) (all []types.BaseEvent, err error) {
	if err := h.Reset(ctx); err != nil {
		return nil, err
	}
	for len(all) < missedEvents {
		list, err := h.ReadPreviousEvents(ctx, missedEvents-int32(len(all)))
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			break
		}
		all = append(all, list...)
	}
	return all, nil
}

// events takes the pages out of an update.
func events(set *types.UpdateSet) []types.BaseEvent {
	var out []types.BaseEvent
	for _, fs := range set.FilterSet {
		for _, o := range fs.ObjectSet {
			for _, c := range o.ChangeSet {
				switch v := c.Val.(type) {
				case types.ArrayOfEvent:
					out = append(out, v.Event...)
				case types.BaseEvent:
					out = append(out, v)
				}
			}
		}
	}
	return out
}

// tail remembers which events were seen. Servers number events upwards.
type tail struct {
	last  int32
	begun bool
}

// misses tells whether events may have come and gone between two pages: then none
// of a full page is known.
func (t *tail) misses(page []types.BaseEvent) bool {
	keys := map[int32]bool{}
	for _, e := range page {
		key := e.GetEvent().Key
		if key <= t.last {
			return false
		}
		keys[key] = true
	}
	return t.begun && len(keys) >= pageSize
}

// add gives the events of a page that are new, oldest first. Of those that may be
// missing, previous reads up to missedEvents; when they are not enough, it is ErrGap.
func (t *tail) add(page []types.BaseEvent, previous func() ([]types.BaseEvent, error)) (fresh []Change, err error) {
	if t.misses(page) {
		older, err := previous()
		if err != nil {
			return nil, err
		}
		page = append(page, older...)
		if len(older) == missedEvents && t.misses(page) {
			return nil, ErrGap
		}
	}
	high := t.last
	twice := map[int32]bool{}
	for _, e := range page {
		b := e.GetEvent()
		if t.begun && b.Key <= t.last || twice[b.Key] {
			continue
		}
		twice[b.Key] = true
		high = max(high, b.Key)
		if b.Vm == nil {
			continue
		}
		fresh = append(fresh, Change{VM: b.Vm.Vm, Kind: eventKind(e), Name: b.Vm.Name, Time: b.CreatedTime, key: b.Key})
	}
	t.last, t.begun = high, true
	sort.Slice(fresh, func(i, j int) bool { return fresh[i].key < fresh[j].key })
	return fresh, nil
}

func eventKind(e types.BaseEvent) string {
	t := reflect.TypeOf(e)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}
