// Package lab is the embedded vSphere: govmomi's simulator, as an ESXi host or a
// vCenter, extended from outside so that its VMs really run on a
// machine.Hypervisor, its disks and datastores are real files, and a bad request
// gets a fault and never ends the process.
//
// How the simulator is extended, without a fork of it. Registry.Handler sees
// every call first; for the objects the lab changes it returns a wrapper (vmObj,
// folderObj, …) and marks the call with a ServerGUID, so that the session's own
// look-up of the plain object misses and the wrapper's methods are called
// (dispatch.go). A RegisterObject sees every change, for the .vmx files and the
// saved inventory, and puts a shield around every task (watcher.go). What can
// take long runs in the lab's own tasks, which hold no lock of the simulator
// while they work (task.go). TestDispatch guards these three against a new
// version of govmomi.
//
// What it must not do: know QEMU, switches or the product. Those who run VMs
// are behind machine.Hypervisor; files and formats are in packages store and
// vmx.
//
// Start reading at Config and Lab, then dispatch.go, power.go and vmcreate.go.
package lab
