package lab

import (
	"reflect"

	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// eventsNow lists the types of an object's events, oldest first, as an
// EventHistoryCollector's latestPage shows them.
func (r *rig) eventsNow(ref types.ManagedObjectReference) []string {
	r.t.Helper()
	m := event.NewManager(r.c.Client)
	col, err := m.CreateCollectorForEvents(r.ctx, types.EventFilterSpec{MaxCount: 100,
		Entity: &types.EventFilterSpecByEntity{Entity: ref, Recursion: types.EventFilterSpecRecursionOptionSelf}})
	r.must(err)
	defer func() { r.must(col.Destroy(r.ctx)) }()
	var page mo.EventHistoryCollector
	r.must(property.DefaultCollector(r.c.Client).RetrieveOne(r.ctx, col.Reference(), []string{"latestPage"}, &page))
	out := make([]string, len(page.LatestPage))
	for i, e := range page.LatestPage {
		out[len(out)-1-i] = reflect.TypeOf(e).Elem().Name()
	}
	return out
}
