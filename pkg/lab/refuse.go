package lab

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// refuse is for calls that the simulator would trip over, or answer as if
// something had happened. Nil lets the call pass.
func (l *Lab) refuse(c *simulator.Context, method *simulator.Method) types.BaseMethodFault {
	if l.faults.refuses(method.Name) {
		return &types.HostNotConnected{}
	}
	switch method.This.Type {
	case "GuestFileManager", "GuestProcessManager", "GuestAuthManager":
		// Nothing in the lab's guests answers these.
		return &types.GuestOperationsUnavailable{}
	}
	name, isName := newName(method.Body)
	if isName && (name == "" || len(name) > 80) {
		return &types.InvalidName{Name: name} // an entity without a name makes every look-up panic
	}
	switch b := method.Body.(type) {
	case *types.SearchDatastore_Task:
		return l.lostPath(c, b.DatastorePath)
	case *types.SearchDatastoreSubFolders_Task:
		return l.lostPath(c, b.DatastorePath)
	case *types.CreateTask:
		// The simulator's task manager waits for itself here, and with it every
		// task from then on.
		return &types.NotSupported{}
	case *types.CreateDVS_Task:
		if b.Spec.ConfigSpec == nil || b.Spec.ConfigSpec.GetDVSConfigSpec().Name == "" {
			return &types.InvalidArgument{InvalidProperty: "spec"}
		}
	case *types.AddDVPortgroup_Task:
		for _, s := range b.Spec {
			if s.Name == "" {
				return &types.InvalidName{}
			}
		}
	case *types.UpdateAssignedLicense:
		// For an entity that it does not know the simulator answers nothing at
		// all. A lab has the license that it has.
		return &types.NotSupported{}
	case *types.UpdateConfig:
		if len(b.Name) > 80 {
			return &types.InvalidName{Name: b.Name}
		}
	}
	return nil
}

// newName is the name that a call would give to an entity.
func newName(body any) (string, bool) {
	switch b := body.(type) {
	case *types.Rename_Task:
		return b.NewName, true
	case *types.CreateFolder:
		return b.Name, true
	case *types.CreateStoragePod:
		return b.Name, true
	case *types.CreateCluster:
		return b.Name, true
	case *types.CreateClusterEx:
		return b.Name, true
	case *types.CreateDatacenter:
		return b.Name, true
	case *types.CreateResourcePool:
		return b.Name, true
	case *types.CreateVApp:
		return b.Name, true
	}
	return "", false
}
