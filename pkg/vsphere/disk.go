package vsphere

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// CopyDisk copies a whole disk on the datastore's side, thin. A copy that
// fails leaves nothing at dst.
func (d *Datastore) CopyDisk(ctx context.Context, src, dst string) error {
	from, to, err := d.two(src, dst)
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
