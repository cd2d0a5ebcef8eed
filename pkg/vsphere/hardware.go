package vsphere

import (
	"context"
	"fmt"

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

// Hardware reads it; a VM that is gone is ErrNotFound.
func (s *Session) Hardware(ctx context.Context, ref types.ManagedObjectReference) (Hardware, error) {
	var m mo.VirtualMachine
	if err := property.DefaultCollector(s.vim).RetrieveOne(ctx, ref, []string{"config.hardware"}, &m); err != nil {
		return Hardware{}, Classify(fmt.Errorf("read hardware of VM %s: %w", ref.Value, err))
	}
	if m.Config == nil {
		return Hardware{}, nil // inaccessible: vSphere refuses what is asked of it
	}
	return Hardware{Devices: m.Config.Hardware.Device, MemoryMB: int64(m.Config.Hardware.MemoryMB)}, nil
}
