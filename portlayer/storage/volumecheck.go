package storage

import (
	"context"
	"fmt"
)

// Check looks at the disk of a volume now, after something that may have taken
// it: a VM that an administrator deletes goes with all disks attached to it. A
// volume that is not known is no error.
func (v *Volumes) Check(ctx context.Context, name string) error {
	unlock, err := v.work.lock(ctx, "volume:"+name)
	if err != nil {
		return err
	}
	defer unlock()
	v.mu.Lock()
	known := v.byID[name]
	var ds VolumeDatastore
	if known != nil {
		ds = known.store.ds
	}
	v.mu.Unlock()
	if ds == nil {
		return nil
	}
	if err := v.refresh(ctx, ds, known); err != nil {
		return fmt.Errorf("look at the disk of volume %s: %w", name, err)
	}
	return nil
}
