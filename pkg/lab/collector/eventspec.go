package collector

import (
	"bytes"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// VirtualDeviceConfigSpec is one change of a reconfiguration with two devices:
// the one that the simulator completes and keeps, and a copy that the event of
// the reconfiguration shows. The simulator lets its event have the very objects
// that it changes next, while clients read the event. The name is that of the
// type on the wire, which encoders take it from.
type VirtualDeviceConfigSpec struct {
	types.VirtualDeviceConfigSpec
	live *types.VirtualDeviceConfigSpec
}

// GetVirtualDeviceConfigSpec is what the simulator asks for.
func (s *VirtualDeviceConfigSpec) GetVirtualDeviceConfigSpec() *types.VirtualDeviceConfigSpec {
	return s.live
}

// Guard is a Registry.Handler that does so for every reconfiguration, and has new
// resource pools made by Pool and calls answered by History.
func Guard(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	switch r := m.Body.(type) {
	case *types.ReconfigVM_Task:
		r.Spec.DeviceChange = ForEvent(r.Spec.DeviceChange)
	case *types.CreateResourcePool:
		if p, ok := ctx.Map.Get(m.This).(*simulator.ResourcePool); ok && ctx.Session != nil {
			// The session would find the plain pool first; with a server's id it
			// finds none.
			m.This.ServerGUID = "guard"
			return &Pool{ResourcePool: p}, nil
		}
	}
	if h := History(ctx, m); h != nil {
		m.This.ServerGUID = "guard"
		return h, nil
	}
	return nil, nil
}

// ForEvent gives each change its copy for the event.
func ForEvent(changes []types.BaseVirtualDeviceConfigSpec) []types.BaseVirtualDeviceConfigSpec {
	out := make([]types.BaseVirtualDeviceConfigSpec, 0, len(changes))
	for _, ch := range changes {
		live := ch.GetVirtualDeviceConfigSpec()
		out = append(out, &VirtualDeviceConfigSpec{VirtualDeviceConfigSpec: copySpec(live), live: live})
	}
	return out
}

// copySpec shares nothing with s. What cannot be encoded could not have come from
// a client; of such a device only the key is shown.
func copySpec(s *types.VirtualDeviceConfigSpec) types.VirtualDeviceConfigSpec {
	var b bytes.Buffer
	var out types.VirtualDeviceConfigSpec
	err := xml.NewEncoder(&b).Encode(types.VirtualDeviceConfigSpec{Operation: s.Operation, FileOperation: s.FileOperation, Device: s.Device})
	if err == nil {
		d := xml.NewDecoder(&b)
		d.TypeFunc = types.TypeFunc()
		err = d.Decode(&out)
	}
	if err != nil || out.Device == nil {
		out = types.VirtualDeviceConfigSpec{Operation: s.Operation, FileOperation: s.FileOperation,
			Device: &types.VirtualDevice{Key: s.Device.GetVirtualDevice().Key}}
	}
	return out
}
