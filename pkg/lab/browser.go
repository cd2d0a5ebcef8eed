package lab

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
)

// browserObj is a datastore's browser. Asked for disks, the simulator gives the size
// of their descriptors; vSphere that of their data.
type browserObj struct {
	*simulator.HostDatastoreBrowser
	l *Lab
}

func (b *browserObj) SearchDatastoreTask(ctx *simulator.Context, req *types.SearchDatastore_Task) soap.HasFault {
	disks := req.SearchSpec != nil && slices.ContainsFunc(req.SearchSpec.Query, func(q types.BaseFileQuery) bool {
		_, is := q.(*types.VmDiskFileQuery)
		return is
	})
	if !disks {
		return b.HostDatastoreBrowser.SearchDatastoreTask(ctx, req)
	}
	return &methods.SearchDatastore_TaskBody{Res: &types.SearchDatastore_TaskResponse{
		Returnval: b.l.task(ctx, b.HostDatastoreBrowser, "searchDatastore", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			var body soap.HasFault
			locked(c, b.HostDatastoreBrowser, func() { body = b.HostDatastoreBrowser.SearchDatastoreTask(c, req) })
			info := b.l.waitInner(c, body)
			if info.Error != nil {
				return nil, info.Error.Fault
			}
			if found, ok := info.Result.(types.HostDatastoreBrowserSearchResults); ok {
				diskSizes(c, found)
			}
			return info.Result, nil
		})}}
}

// diskSizes puts what disks take of the datastore in the place of their descriptors'
// sizes. What is no disk after all keeps its own.
func diskSizes(c *simulator.Context, found types.HostDatastoreBrowserSearchResults) {
	var folder object.DatastorePath
	ds, ok := c.Map.Get(*found.Datastore).(*simulator.Datastore)
	if !ok || !folder.FromString(found.FolderPath) {
		return
	}
	for _, f := range found.File {
		disk, ok := f.(*types.VmDiskFileInfo)
		if !ok {
			continue
		}
		files, err := store.Files(filepath.Join(ds.Summary.Url, folder.Path, filepath.Base(disk.Path)))
		if err != nil {
			continue
		}
		disk.FileSize = 0
		for _, name := range files {
			if fi, err := os.Stat(name); err == nil {
				disk.FileSize += store.Allocated(fi)
			}
		}
	}
}
