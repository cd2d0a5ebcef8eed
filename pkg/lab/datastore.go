package lab

import (
	"cmp"
	"context"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
)

type datastoreObj struct {
	*simulator.Datastore
	l *Lab
}

// spaceMeter can show a datastore as full.
type spaceMeter struct {
	mu   sync.Mutex
	full map[string]bool
}

// usage is a datastore's capacity and what is free for VMs, in bytes.
func (l *Lab) usage(name string) (capacity, free int64) {
	dir := l.datastoreDir(name)
	capacity, free, err := store.Usage(dir)
	if err != nil {
		capacity, free = 1<<40, 1<<40
	}
	if limit := l.cfg.DatastoreCapacity; limit > 0 && limit < capacity {
		capacity = limit
		free = max(min(free, limit-allocated(dir)), 0)
	}
	l.space.mu.Lock()
	defer l.space.mu.Unlock()
	if l.space.full[name] {
		free = 0
	}
	return capacity, free
}

// allocated is what the files below dir take on disk.
func allocated(dir string) int64 {
	var n int64
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // a file that is gone takes nothing
		}
		if fi, err := d.Info(); err == nil {
			n += store.Allocated(fi)
		}
		return nil
	})
	return n
}

// room refuses what would not fit.
func (l *Lab) room(ds *simulator.Datastore, need int64) types.BaseMethodFault {
	if _, free := l.usage(ds.Name); need > free {
		return &types.NoDiskSpace{Datastore: ds.Name}
	}
	return nil
}

// holdDatastores locks every datastore on behalf of c and returns what unlocks
// them. Whenever the simulator looks for a file, it copies the whole datastore
// without its lock, while others measure it or add a VM to it: who lets the
// simulator do so holds this. It is taken after the lock of the object that the
// work is on, and no other is waited for by who has it but those of new VMs, of
// hosts and of pools, whose holders want no datastore.
func (l *Lab) holdDatastores(c *simulator.Context) (free func()) {
	all := c.Map.AllReference("Datastore")
	slices.SortFunc(all, func(a, b mo.Reference) int { return cmp.Compare(a.Reference().Value, b.Reference().Value) })
	var held []func()
	for _, ds := range all {
		held = append(held, c.Map.AcquireLock(c, ds))
	}
	return func() {
		for _, unlock := range held {
			unlock()
		}
	}
}

// measure updates what a datastore says of its space.
func (l *Lab) measure(c *simulator.Context, ds *simulator.Datastore) {
	capacity, free := l.usage(ds.Name)
	locked(c, ds, func() {
		i := ds.Info.GetDatastoreInfo()
		if ds.Summary.Capacity == capacity && ds.Summary.FreeSpace == free && i.Timestamp != nil {
			return
		}
		ds.Summary.Capacity, ds.Summary.FreeSpace = capacity, free
		i.FreeSpace, i.MaxFileSize, i.MaxMemoryFileSize, i.MaxVirtualDiskCapacity, i.Timestamp = free, 62<<40, capacity, 62<<40, now()
	})
}

func (l *Lab) measureAll(c *simulator.Context) {
	for _, ref := range c.Map.AllReference("Datastore") {
		if ds, ok := ref.(*simulator.Datastore); ok {
			l.measure(c, ds)
		}
	}
}

func (d *datastoreObj) RefreshDatastore(ctx *simulator.Context, _ *types.RefreshDatastore) soap.HasFault {
	d.l.measure(ctx, d.Datastore)
	return &methods.RefreshDatastoreBody{Res: &types.RefreshDatastoreResponse{}}
}

func (d *datastoreObj) RefreshDatastoreStorageInfo(ctx *simulator.Context, _ *types.RefreshDatastoreStorageInfo) soap.HasFault {
	d.l.measure(ctx, d.Datastore)
	return &methods.RefreshDatastoreStorageInfoBody{Res: &types.RefreshDatastoreStorageInfoResponse{}}
}

// DestroyTask is refused: a lab's datastores are its directories.
func (d *datastoreObj) DestroyTask(*simulator.Context, *types.Destroy_Task) soap.HasFault {
	return &methods.Destroy_TaskBody{Fault_: unsupported()}
}

// RenameTask likewise: the directory has the name.
func (d *datastoreObj) RenameTask(*simulator.Context, *types.Rename_Task) soap.HasFault {
	return &methods.Rename_TaskBody{Fault_: unsupported()}
}

// housekeeping does what has no task to end with.
func (l *Lab) housekeeping(ctx context.Context) error {
	vmxTick, slow := time.NewTicker(200*time.Millisecond), time.NewTicker(20*time.Second)
	defer vmxTick.Stop()
	defer slow.Stop()
	c := l.context(nil)
	told := policyWatch{}
	for {
		told.tell(l, c)
		select {
		case <-ctx.Done():
			l.files.flushAll(l, c)
			return nil
		case <-vmxTick.C:
			l.lookForLost(c)
			l.files.flushAll(l, c)
		case <-slow.C:
			l.purge(c)
			l.measureAll(c)
			l.stats(c)
			l.leases.expire(l)
		}
	}
}
