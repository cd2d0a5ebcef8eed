package vsphere

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// leaseTick is how often the import of a disk is reported alive; vSphere drops
// a lease after five minutes of silence.
const leaseTick = 30 * time.Second

// ImportDisk makes the disk at dst from a streamOptimized VMDK. vSphere imports
// disks only as part of a VM, so that a VM of a made-up name is imported, its
// disk detached and moved to dst, and the VM destroyed.
func (d *Datastore) ImportDisk(ctx context.Context, dst string, r io.Reader, size, capacity int64) error {
	rel, err := d.rel(dst)
	if err != nil {
		return err
	}
	if d.cfg.Pool == nil {
		return fmt.Errorf("import disk %s: no resource pool given: %w", dst, errdefs.ErrFailedPrecondition)
	}
	if err := d.absent(ctx, dst); err != nil {
		return fmt.Errorf("import disk: %w", err)
	}
	if _, err := d.Stat(ctx, d.Path(path.Dir(rel))); err != nil {
		return fmt.Errorf("import disk %s: %w", dst, err)
	}
	name := importPrefix(d.cfg.Owner) + uuid.NewString()[:8]
	vm, err := d.importVM(ctx, name, r, size, capacity)
	if vm != nil {
		defer d.dropImport(ctx, name, vm)
	}
	if err != nil {
		return fmt.Errorf("import disk %s: %w", dst, err)
	}
	src, err := d.detachDisk(ctx, *vm)
	if err != nil {
		return fmt.Errorf("import disk %s: %w", dst, err)
	}
	t, err := object.NewVirtualDiskManager(d.s.vim).MoveVirtualDisk(ctx, src, d.dc, d.Path(rel), d.dc, false)
	if err := d.finish(ctx, t, err, "import disk: move %s to %s", src, dst); err != nil {
		late, cancel := cleanup(ctx)
		defer cancel()
		return errors.Join(d.undoDisk(ctx, dst, err), d.DeleteDisk(late, src))
	}
	return nil
}

// importPrefix begins the names of an owner's import VMs.
func importPrefix(owner string) string { return "vic-import-" + owner + "-" }

// CleanUpImports destroys the VMs in a pool that imports of an owner have left
// which were cut off, with the disks that were not in their place yet. None of
// the owner's imports may be under way.
func (s *Session) CleanUpImports(ctx context.Context, p Place, owner string) error {
	all, err := s.VMs(ctx, p.Pool)
	if err != nil {
		return fmt.Errorf("clean up after disk imports: %w", err)
	}
	var errs []error
	for _, vm := range all {
		if owner == "" || !strings.HasPrefix(vm.Name, importPrefix(owner)) || vm.On() {
			continue
		}
		s.log.WithField("vm", vm.Name).Info("removing what an interrupted disk import left behind")
		if err := s.Destroy(ctx, vm.Ref); err != nil && !errdefs.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("clean up after disk import %s: %w", vm.Name, err))
			continue
		}
		// A disk that was taken out of it already stays in its folder.
		if dir := vm.Folder(); strings.HasSuffix(dir, vm.Name) {
			dc := object.NewDatacenter(s.vim, p.Datacenter)
			t, err := object.NewFileManager(s.vim).DeleteDatastoreFile(ctx, dir, dc)
			if err == nil {
				_, err = s.Wait(ctx, t.Reference())
			}
			if err = absentIsFine(Classify(err)); err != nil {
				errs = append(errs, fmt.Errorf("clean up after disk import %s: delete %s: %w", vm.Name, dir, err))
			}
		}
	}
	return errors.Join(errs...)
}

// importVM gives the imported VM, also on failure if there is one to destroy.
func (d *Datastore) importVM(ctx context.Context, name string, r io.Reader, size, capacity int64) (*types.ManagedObjectReference, error) {
	pool := object.NewResourcePool(d.s.vim, *d.cfg.Pool)
	folder := object.NewFolder(d.s.vim, *d.cfg.Folder)
	var host *object.HostSystem
	if d.cfg.Host != nil {
		host = object.NewHostSystem(d.s.vim, *d.cfg.Host)
	}
	lease, err := pool.ImportVApp(ctx, d.importSpec(name, capacity), folder, host)
	if err != nil {
		return nil, ctxErr(ctx, Classify(fmt.Errorf("begin import: %w", err)))
	}
	info, err := lease.Wait(ctx, nil)
	if err != nil {
		d.abort(ctx, lease)
		return nil, ctxErr(ctx, Classify(fmt.Errorf("wait for import lease: %w", err)))
	}
	vm := info.Entity
	if err := d.send(ctx, lease, info, r, size); err != nil {
		d.abort(ctx, lease)
		return &vm, err
	}
	if err := lease.Complete(ctx); err != nil {
		d.abort(ctx, lease)
		return &vm, ctxErr(ctx, Classify(fmt.Errorf("complete import: %w", err)))
	}
	return &vm, nil
}

// send uploads the one disk, reporting progress so that the lease lives on.
func (d *Datastore) send(ctx context.Context, lease *nfc.Lease, info *nfc.LeaseInfo, r io.Reader, size int64) error {
	if len(info.DeviceUrl) != 1 {
		return fmt.Errorf("import lease has %d disks, want 1: %w", len(info.DeviceUrl), errdefs.ErrUnknown)
	}
	u, err := d.s.vim.ParseURL(info.DeviceUrl[0].Url)
	if err != nil {
		return fmt.Errorf("address of import: %w", err)
	}
	if tp := info.DeviceUrl[0].SslThumbprint; tp != "" && u.Host != d.s.target.Host {
		d.s.vim.SetThumbprint(u.Host, tp)
	}
	counted := &counter{r: r}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		d.reportProgress(ctx, lease, counted, size, stop)
	}()
	err = d.post(ctx, u.String(), counted, size)
	close(stop)
	<-stopped
	if err == nil && counted.n.Load() != size {
		err = fmt.Errorf("upload disk: %d of %d bytes: %w", counted.n.Load(), size, io.ErrUnexpectedEOF)
	}
	if err == nil || ctx.Err() != nil {
		return ctxErr(ctx, err)
	}
	// The lease knows why better than the HTTP status.
	if l, perr := lease.Properties(ctx, "error"); perr == nil && l.Error != nil {
		return errors.Join(Classify(&task.Error{LocalizedMethodFault: l.Error}), err)
	}
	return err
}

func (d *Datastore) post(ctx context.Context, url string, r io.Reader, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, io.NopCloser(r))
	if err != nil {
		return fmt.Errorf("address the import: %w", err)
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "application/x-vnd.vmware-streamVmdk")
	req.Header.Set("Overwrite", "t")
	res, err := d.s.vim.Client.Client.Do(req)
	if err != nil {
		return Classify(fmt.Errorf("upload disk: %w", err))
	}
	defer res.Body.Close()
	return statusError("upload", "disk", res)
}

func (d *Datastore) reportProgress(ctx context.Context, lease *nfc.Lease, c *counter, size int64, stop <-chan struct{}) {
	t := time.NewTicker(leaseTick)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-t.C:
			// A lease that is gone fails the upload itself.
			_ = lease.Progress(ctx, int32(min(99, 100*c.n.Load()/max(size, 1))))
		}
	}
}

func (d *Datastore) abort(ctx context.Context, lease *nfc.Lease) {
	late, cancel := cleanup(ctx)
	defer cancel()
	// A lease that failed by itself cannot be aborted; it times out.
	_ = lease.Abort(late, nil)
}

func (d *Datastore) importSpec(name string, capacity int64) *types.VirtualMachineImportSpec {
	scsi := &types.ParaVirtualSCSIController{
		VirtualSCSIController: types.VirtualSCSIController{
			SharedBus: types.VirtualSCSISharingNoSharing,
			VirtualController: types.VirtualController{
				VirtualDevice: types.VirtualDevice{Key: 1000},
			},
		},
	}
	ref := d.ds.Reference()
	disk := &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{
			Key: 2000, ControllerKey: 1000, UnitNumber: types.NewInt32(0),
			Backing: &types.VirtualDiskFlatVer2BackingInfo{
				DiskMode:                     string(types.VirtualDiskModePersistent),
				ThinProvisioned:              types.NewBool(true),
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{Datastore: &ref},
			},
		},
		CapacityInKB:    (capacity + 1023) / 1024,
		CapacityInBytes: capacity,
	}
	return &types.VirtualMachineImportSpec{
		ConfigSpec: types.VirtualMachineConfigSpec{
			Name: name, GuestId: string(types.VirtualMachineGuestOsIdentifierOtherGuest64),
			NumCPUs: 1, MemoryMB: 32,
			Files: &types.VirtualMachineFileInfo{VmPathName: fmt.Sprintf("[%s]", d.cfg.Name)},
			DeviceChange: []types.BaseVirtualDeviceConfigSpec{
				&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: scsi},
				&types.VirtualDeviceConfigSpec{
					Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: disk,
					FileOperation: types.VirtualDeviceConfigSpecFileOperationCreate,
				},
			},
		},
	}
}

// detachDisk takes the only disk out of vm, keeping its files, and gives its path.
func (d *Datastore) detachDisk(ctx context.Context, ref types.ManagedObjectReference) (string, error) {
	vm := object.NewVirtualMachine(d.s.vim, ref)
	devices, err := vm.Device(ctx)
	if err != nil {
		return "", Classify(fmt.Errorf("read devices of the import: %w", err))
	}
	disks := devices.SelectByType((*types.VirtualDisk)(nil))
	if len(disks) != 1 {
		return "", fmt.Errorf("import made %d disks, want 1: %w", len(disks), errdefs.ErrUnknown)
	}
	backing, ok := disks[0].GetVirtualDevice().Backing.(types.BaseVirtualDeviceFileBackingInfo)
	if !ok {
		return "", fmt.Errorf("the import's disk has no file: %w", errdefs.ErrUnknown)
	}
	t, err := vm.Reconfigure(ctx, types.VirtualMachineConfigSpec{
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: disks[0]},
		},
	})
	return backing.GetVirtualDeviceFileBackingInfo().FileName, d.finish(ctx, t, err, "detach the import's disk")
}

// dropImport destroys the import's VM and what may be left of its folder. The
// disk is in its place, or its failure is reported already; what cannot be
// removed here is logged.
func (d *Datastore) dropImport(ctx context.Context, name string, ref *types.ManagedObjectReference) {
	late, cancel := cleanup(ctx)
	defer cancel()
	dir := name
	var vm mo.VirtualMachine
	o := object.NewVirtualMachine(d.s.vim, *ref)
	if err := o.Properties(late, *ref, []string{"config.files.vmPathName"}, &vm); err == nil && vm.Config != nil {
		if rel, err := d.rel(vm.Config.Files.VmPathName); err == nil && strings.Contains(rel, "/") {
			dir = path.Dir(rel)
		}
	}
	res, err := methods.Destroy_Task(late, d.s.vim, &types.Destroy_Task{This: *ref})
	if err == nil {
		_, err = d.s.Wait(late, res.Returnval)
	}
	if err = absentIsFine(Classify(err)); err == nil {
		err = d.Delete(late, d.Path(dir))
	}
	if err != nil {
		d.s.log.WithError(err).WithField("vm", name).Warn("leftover of a disk import could not be removed")
	}
}
