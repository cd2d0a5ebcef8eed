package vsphere

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// CopyDisk copies a whole disk on vSphere's side, thin; src may be on any datastore
// of the datacenter. A copy that fails leaves nothing at dst.
func (d *Datastore) CopyDisk(ctx context.Context, src, dst string) error {
	from, to, err := d.into(src, dst)
	if err != nil {
		return err
	}
	if err := d.absent(ctx, dst); err != nil {
		return fmt.Errorf("copy disk %s: %w", src, err)
	}
	thin := &types.VirtualDiskSpec{
		AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic),
		DiskType:    string(types.VirtualDiskTypeThin),
	}
	err = d.copyDisk(ctx, from, to, thin)
	if errdefs.IsNotImplemented(err) || errdefs.IsInvalidArgument(err) {
		// vCenter may take no destination format; it keeps the source's then.
		err = d.copyDisk(ctx, from, to, nil)
	}
	if err == nil {
		return nil
	}
	return d.undoDisk(ctx, dst, err)
}

func (d *Datastore) copyDisk(ctx context.Context, from, to string, s types.BaseVirtualDiskSpec) error {
	t, err := object.NewVirtualDiskManager(d.s.vim).CopyVirtualDisk(ctx, from, d.dc, to, d.dc, s, false)
	return d.finish(ctx, t, err, "copy disk %s to %s", from, to)
}

// undoDisk removes what is at dst after err, unless it was somebody else's.
func (d *Datastore) undoDisk(ctx context.Context, dst string, err error) error {
	if errdefs.IsAlreadyExists(err) {
		return err
	}
	late, cancel := cleanup(ctx)
	defer cancel()
	return errors.Join(err, d.DeleteDisk(late, dst))
}

// absent is an error if there is something at p.
func (d *Datastore) absent(ctx context.Context, p string) error {
	_, err := d.Stat(ctx, p)
	switch {
	case err == nil:
		return fmt.Errorf("%s: file already exists: %w", p, errdefs.ErrAlreadyExists)
	case errdefs.IsNotFound(err):
		return nil
	}
	return err
}

// DeleteDisk removes a disk with all its files. That it is not there is not an
// error.
func (d *Datastore) DeleteDisk(ctx context.Context, p string) error {
	rel, err := d.rel(p)
	if err != nil {
		return err
	}
	t, err := object.NewVirtualDiskManager(d.s.vim).DeleteVirtualDisk(ctx, d.Path(rel), d.dc)
	return absentIsFine(d.finish(ctx, t, err, "delete disk %s", p))
}

// CopyDiskAs is CopyDisk with the destination's provisioning: "thin",
// "zeroedthick" or "eagerzeroedthick".
func (d *Datastore) CopyDiskAs(ctx context.Context, src, dst, format string) error {
	kinds := map[string]types.VirtualDiskType{
		"zeroedthick": types.VirtualDiskTypePreallocated, "eagerzeroedthick": types.VirtualDiskTypeEagerZeroedThick,
	}
	if format == "thin" {
		return d.CopyDisk(ctx, src, dst)
	}
	kind, ok := kinds[format]
	if !ok {
		return fmt.Errorf("copy disk %s: format %q: %w", src, format, errdefs.ErrInvalidArgument)
	}
	from, to, err := d.into(src, dst)
	if err != nil {
		return err
	}
	if err := d.absent(ctx, dst); err != nil {
		return fmt.Errorf("copy disk %s: %w", src, err)
	}
	// No second try without a format: what was asked for would not be there.
	err = d.copyDisk(ctx, from, to, &types.VirtualDiskSpec{
		AdapterType: string(types.VirtualDiskAdapterTypeLsiLogic), DiskType: string(kind),
	})
	if err == nil {
		return nil
	}
	return d.undoDisk(ctx, dst, err)
}

// ExtendDisk makes a disk larger that no running VM has. vSphere refuses to make
// one smaller.
func (d *Datastore) ExtendDisk(ctx context.Context, p string, capacity int64) error {
	rel, err := d.rel(p)
	if err != nil {
		return err
	}
	t, err := object.NewVirtualDiskManager(d.s.vim).ExtendVirtualDisk(ctx, d.Path(rel), d.dc, (capacity+1023)/1024, nil)
	return d.finish(ctx, t, err, "extend disk %s", p)
}

// Allocated gives the bytes that a disk takes of the datastore.
func (d *Datastore) Allocated(ctx context.Context, p string) (int64, error) {
	rel, err := d.rel(p)
	if err != nil {
		return 0, err
	}
	// Asked for as a disk, it is shown as one: by its descriptor's name, with the
	// size of its data.
	t, err := d.browser.SearchDatastore(ctx, d.Path(path.Dir(rel)), &types.HostDatastoreBrowserSearchSpec{
		Query:        []types.BaseFileQuery{&types.VmDiskFileQuery{Details: &types.VmDiskFileQueryFlags{CapacityKb: true}}},
		Details:      &types.FileQueryFlags{FileType: true, FileSize: true},
		MatchPattern: []string{path.Base(rel)},
	})
	if err != nil {
		return 0, ctxErr(ctx, Classify(fmt.Errorf("size of disk %s: %w", p, err)))
	}
	res, err := d.s.Wait(ctx, t.Reference())
	if err != nil {
		return 0, fmt.Errorf("size of disk %s: %w", p, err)
	}
	if r, ok := res.(types.HostDatastoreBrowserSearchResults); ok {
		for _, f := range r.File {
			if i := f.GetFileInfo(); path.Base(i.Path) == path.Base(rel) {
				return i.FileSize, nil
			}
		}
	}
	return 0, fmt.Errorf("disk %s: file not found: %w", p, errdefs.ErrNotFound)
}
