package lab

import (
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// One change for each leaf: a filter on guest.ipAddress hears nothing of a
// change called "guest", while a filter on the parent hears of its leaves.

// setPower flips a VM's power state.
func (l *Lab) setPower(c *simulator.Context, o *simulator.VirtualMachine, s types.VirtualMachinePowerState) {
	locked(c, o, func() {
		on := s == poweredOn
		devices := snapshot(o).Config.Hardware.Device
		for _, d := range devices {
			if x := d.GetVirtualDevice().Connectable; x != nil {
				x.Connected = on && x.StartConnected
			}
		}
		changes := []types.PropertyChange{
			{Name: "config.hardware.device", Val: devices},
			{Name: "runtime.connectionState", Val: types.VirtualMachineConnectionStateConnected},
		}
		changes = append(changes, hotAddShown(o.Config, on)...)
		if on {
			boot := time.Now()
			if o.Runtime.PowerState == s && o.Runtime.BootTime != nil {
				boot = *o.Runtime.BootTime // adopted
			}
			changes = append(changes, set("runtime.bootTime", boot), set("summary.runtime.bootTime", boot))
		} else {
			changes = append(changes, set("runtime.bootTime", nil), set("summary.runtime.bootTime", nil))
			changes = append(changes, guestGone()...)
			o.Summary.QuickStats = types.VirtualMachineQuickStats{GuestHeartbeatStatus: types.ManagedEntityStatusGray}
		}
		changes = append(changes, set("summary.runtime.powerState", s), set("runtime.powerState", s))
		c.Update(o, changes)
	})
}

func set(name string, val any) types.PropertyChange {
	return types.PropertyChange{Name: name, Val: val}
}

func guestGone() []types.PropertyChange {
	return append(toolsChanges(false),
		set("guest.guestState", string(types.VirtualMachineGuestStateNotRunning)),
		set("guest.net", []types.GuestNicInfo{}),
		set("guest.ipStack", []types.GuestStackInfo{}),
		set("guest.ipAddress", ""), set("summary.guest.ipAddress", ""),
		set("guest.hostName", ""), set("summary.guest.hostName", ""))
}

func toolsChanges(running bool) []types.PropertyChange {
	status, run, version := types.VirtualMachineToolsStatusToolsNotRunning, types.VirtualMachineToolsRunningStatusGuestToolsNotRunning, types.VirtualMachineToolsVersionStatusGuestToolsUnmanaged
	if running {
		status, run = types.VirtualMachineToolsStatusToolsOk, types.VirtualMachineToolsRunningStatusGuestToolsRunning
	}
	return []types.PropertyChange{
		set("guest.toolsStatus", status), set("summary.guest.toolsStatus", status),
		set("guest.toolsVersionStatus", string(version)), set("guest.toolsVersionStatus2", string(version)),
		set("summary.guest.toolsVersionStatus2", string(version)),
		set("guest.toolsVersion", "2147483647"), // what unmanaged tools say
		set("guest.guestOperationsReady", running),
		set("guest.toolsRunningStatus", string(run)), set("summary.guest.toolsRunningStatus", string(run)),
	}
}

func (l *Lab) setTools(c *simulator.Context, o *simulator.VirtualMachine, running bool) {
	locked(c, o, func() {
		changes := toolsChanges(running)
		if running {
			changes = append(changes, set("guest.guestState", string(types.VirtualMachineGuestStateRunning)))
			o.Summary.QuickStats.GuestHeartbeatStatus = types.ManagedEntityStatusGreen
		}
		c.Update(o, changes)
	})
}

// snapshot is a deep copy of a VM, whose lock the caller holds.
func snapshot(o *simulator.VirtualMachine) *mo.VirtualMachine {
	return simulator.Checkpoint(o).(*mo.VirtualMachine)
}
