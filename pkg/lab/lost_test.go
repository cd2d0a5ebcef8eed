package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// accessible waits for what a datastore says of itself.
func (r *rig) accessible(ds *object.Datastore, want bool) {
	r.t.Helper()
	err := property.Wait(r.ctx, property.DefaultCollector(r.c.Client), ds.Reference(), []string{"summary.accessible"}, func(ch []types.PropertyChange) bool {
		for _, c := range ch {
			if c.Val == want {
				return true
			}
		}
		return false
	})
	r.must(err)
}

// object is the lab's own VM.
func (r *rig) object(ref types.ManagedObjectReference) *simulator.VirtualMachine {
	return r.l.svc.Context.Map.Get(ref).(*simulator.VirtualMachine)
}

func TestLostDatastore(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("c")
		ds, err := r.f.Datastore(r.ctx, "mydatastore")
		r.must(err)
		other, err := r.f.Datastore(r.ctx, "datastore2")
		r.must(err)
		if err := LoseDatastore(r.cfg.StateDir, "none", true); !errdefs.IsNotFound(err) {
			t.Errorf("%v", err)
		}
		if err := LoseDatastore(r.cfg.StateDir, "../x", true); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v", err)
		}
		r.must(LoseDatastore(r.cfg.StateDir, "mydatastore", true))
		r.accessible(ds, false)
		var m mo.Datastore
		r.must(property.DefaultCollector(r.c.Client).RetrieveOne(r.ctx, ds.Reference(), []string{"host"}, &m))
		if len(m.Host) != 1 || m.Host[0].MountInfo.Accessible == nil || *m.Host[0].MountInfo.Accessible {
			t.Errorf("%+v", m.Host)
		}

		fm, dm := object.NewFileManager(r.c.Client), object.NewVirtualDiskManager(r.c.Client)
		faultIs[*types.InaccessibleDatastore](t, fm.MakeDirectory(r.ctx, "[mydatastore] d", r.dc, false))
		task, err := dm.CreateVirtualDisk(r.ctx, "[mydatastore] x.vmdk", r.dc, thin(1024))
		fails[*types.InaccessibleDatastore](r, task, err)
		task, err = vm.PowerOn(r.ctx)
		fails[*types.InaccessibleDatastore](r, task, err)
		b, err := ds.Browser(r.ctx)
		r.must(err)
		task, err = b.SearchDatastore(r.ctx, "[mydatastore]", &types.HostDatastoreBrowserSearchSpec{})
		fails[*types.InaccessibleDatastore](r, task, err)
		if err := ds.Upload(r.ctx, strings.NewReader("x"), "x", nil); err == nil {
			t.Error("uploaded")
		}
		if _, _, err := ds.Download(r.ctx, "VCH001/bootstrap.iso", nil); err == nil {
			t.Error("downloaded")
		}
		r.must(fm.MakeDirectory(r.ctx, "[datastore2] d", r.dc, false)) // the other is well
		r.accessible(other, true)

		// What changes meanwhile is in the file when the datastore is back, also
		// after a restart.
		r.must(r.l.guest(r.object(vm.Reference())).InfoSet("guestinfo..said", "meanwhile"))
		r.stop()
		r.start()
		ds = object.NewDatastore(r.c.Client, ds.Reference())
		r.accessible(ds, false)
		r.must(LoseDatastore(r.cfg.StateDir, "mydatastore", false))
		r.accessible(ds, true)
		r.wait(object.NewVirtualMachine(r.c.Client, vm.Reference()).PowerOn(r.ctx))
		file := filepath.Join(r.dir("mydatastore"), "c", "c.vmx")
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(patience); ; <-tick.C {
			text, err := os.ReadFile(file)
			if err == nil && strings.Contains(string(text), `guestinfo..said = "meanwhile"`) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%v\n%s", err, text)
			}
		}
	})
}
