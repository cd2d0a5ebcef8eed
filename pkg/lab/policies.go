package lab

import (
	"strconv"
	"strings"
	"sync"

	pbmmethods "github.com/vmware/govmomi/pbm/methods"
	pbmsim "github.com/vmware/govmomi/pbm/simulator"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// policyBook is vCenter's service for storage policies (/pbm). The policies are the
// simulator's, and every datastore can hold each. What disks were given
// is known by their files, until the lab ends.
type policyBook struct {
	profiles *pbmsim.ProfileManager
	registry *simulator.Registry

	mu     sync.Mutex // guards what follows
	byFile map[string]string
}

var profileManager = types.ManagedObjectReference{Type: "PbmProfileProfileManager", Value: "ProfileManager"}

// newPolicies is nil on an ESXi, which has no such service.
func newPolicies(l *Lab) *policyBook {
	if l.cfg.Mode != ModeVCenter {
		return nil
	}
	b := &policyBook{registry: pbmsim.New(), byFile: map[string]string{}}
	b.profiles = b.registry.Get(profileManager).(*pbmsim.ProfileManager)
	b.registry.Put(&policyObj{ProfileManager: b.profiles, l: l})
	return b
}

// knows tells whether a policy exists.
func (b *policyBook) knows(id string) bool {
	if b == nil {
		return false
	}
	q := &pbmtypes.PbmRetrieveContent{ProfileIds: []pbmtypes.PbmProfileId{{UniqueId: id}}}
	return b.profiles.PbmRetrieveContent(q).Fault() == nil
}

// asked is the policy that a device's change asks for; its fault is that there is
// no such policy, or no service.
func (b *policyBook) asked(i int, s *types.VirtualDeviceConfigSpec) (id string, fault types.BaseMethodFault) {
	for _, p := range s.Profile {
		d, ok := p.(*types.VirtualMachineDefinedProfileSpec)
		if !ok {
			continue // an empty or default one
		}
		if _, disk := s.Device.(*types.VirtualDisk); !disk || !b.knows(d.ProfileId) {
			return "", invalidDevice(i, "profile")
		}
		id = d.ProfileId
	}
	return id, nil
}

// note keeps which policies the disks of a change have now.
func (b *policyBook) note(changes []types.BaseVirtualDeviceConfigSpec) {
	if b == nil {
		return
	}
	for i, ch := range changes {
		s := ch.GetVirtualDeviceConfigSpec()
		id, fault := b.asked(i, s)
		if id == "" || fault != nil {
			continue
		}
		if f, ok := s.Device.GetVirtualDevice().Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			b.mu.Lock()
			b.byFile[f.GetVirtualDeviceFileBackingInfo().FileName] = id
			b.mu.Unlock()
		}
	}
}

// policyObj is the ProfileManager.
type policyObj struct {
	*pbmsim.ProfileManager
	l *Lab
}

// PbmQueryAssociatedProfile gives the policy of a VM's disk, "vm-12:2000".
func (o *policyObj) PbmQueryAssociatedProfile(_ *simulator.Context, req *pbmtypes.PbmQueryAssociatedProfile) soap.HasFault {
	res := &pbmtypes.PbmQueryAssociatedProfileResponse{}
	if id := o.l.storagePolicies.of(o.l, req.Entity); id != "" {
		res.Returnval = []pbmtypes.PbmProfileId{{UniqueId: id}}
	}
	return &pbmmethods.PbmQueryAssociatedProfileBody{Res: res}
}

func (b *policyBook) of(l *Lab, e pbmtypes.PbmServerObjectRef) string {
	vm, key, ok := strings.Cut(e.Key, ":")
	if !ok || e.ObjectType != string(pbmtypes.PbmObjectTypeVirtualDiskId) {
		return ""
	}
	c := l.context(nil)
	o, ok := c.Map.Get(types.ManagedObjectReference{Type: "VirtualMachine", Value: vm}).(*simulator.VirtualMachine)
	if !ok {
		return ""
	}
	file := ""
	locked(c, o, func() {
		if o.Config != nil {
			file = diskFile(o.Config.Hardware.Device, key)
		}
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byFile[file]
}

// diskFile is the file of the disk with a key.
func diskFile(devices []types.BaseVirtualDevice, key string) string {
	for _, d := range devices {
		v := d.GetVirtualDevice()
		if _, ok := d.(*types.VirtualDisk); !ok || strconv.Itoa(int(v.Key)) != key {
			continue
		}
		if f, ok := v.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			return f.GetVirtualDeviceFileBackingInfo().FileName
		}
	}
	return ""
}
