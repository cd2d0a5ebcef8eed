package vsphere

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Hardware is what a VM is made of.
type Hardware struct {
	Devices  object.VirtualDeviceList
	MemoryMB int64 // MiB
}

// Hardware reads it; a VM that is gone is ErrNotFound, one that vSphere cannot read
// (inaccessible, orphaned) ErrUnavailable.
func (s *Session) Hardware(ctx context.Context, ref types.ManagedObjectReference) (Hardware, error) {
	var m mo.VirtualMachine
	if err := property.DefaultCollector(s.vim).RetrieveOne(ctx, ref, []string{"config.hardware"}, &m); err != nil {
		return Hardware{}, Classify(fmt.Errorf("read hardware of VM %s: %w", ref.Value, err))
	}
	if m.Config == nil {
		return Hardware{}, fmt.Errorf("hardware of VM %s: vSphere cannot read its configuration: %w", ref.Value, errdefs.ErrUnavailable)
	}
	return Hardware{Devices: m.Config.Hardware.Device, MemoryMB: int64(m.Config.Hardware.MemoryMB)}, nil
}
