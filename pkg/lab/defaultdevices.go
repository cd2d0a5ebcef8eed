package lab

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// defaultDevices are copies of what every VM of the simulator has.
func defaultDevices() []types.BaseVirtualDevice {
	m := &simulator.VirtualMachine{VirtualMachine: mo.VirtualMachine{
		Config: &types.VirtualMachineConfigInfo{Hardware: types.VirtualHardware{Device: esx.VirtualDevice}}}}
	return snapshot(m).Config.Hardware.Device
}
