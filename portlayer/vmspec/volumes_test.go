package vmspec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
)

// One disk for each volume, in the mode that its mounts together need.
func TestVolumeDisks(t *testing.T) {
	mount := func(disk string, readOnly bool, mode string) spec.Mount {
		return spec.Mount{Type: spec.MountVolume, Name: disk, Source: disk, Path: "/" + disk, ReadOnly: readOnly, DiskMode: mode}
	}
	for what, test := range map[string]struct {
		mounts []spec.Mount
		want   []string
	}{
		"none":      {},
		"writer":    {[]spec.Mount{mount("a", false, "")}, []string{"a independent_persistent"}},
		"reader":    {[]spec.Mount{mount("a", true, "persistent")}, []string{"a independent_nonpersistent"}},
		"dependent": {[]spec.Mount{mount("a", false, "persistent")}, []string{"a persistent"}},
		"both, of two volumes": {
			[]spec.Mount{mount("a", true, ""), mount("b", true, ""), mount("a", false, ""), {Type: spec.MountTmpfs, Path: "/tmp"}},
			[]string{"a independent_persistent", "b independent_nonpersistent"},
		},
	} {
		c := spec.Container{Mounts: test.mounts}
		var got []string
		for _, d := range VolumeDisks(c) {
			b := d.GetVirtualDeviceConfigSpec().Device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			if b.Datastore != nil {
				t.Errorf("%s: %s is said to be on datastore %s", what, b.FileName, b.Datastore.Value)
			}
			got = append(got, b.FileName+" "+b.DiskMode)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s:\n%s", what, d)
		}
	}
}

func TestVolumePolicies(t *testing.T) {
	c := spec.Container{Mounts: []spec.Mount{
		{Type: spec.MountVolume, Source: "[ds] a.vmdk", Policy: "aa6d5a82-1c88-45da-85d3-3d74b91a5bad"}, {Type: spec.MountVolume, Source: "[ds] b.vmdk"},
	}}
	var got [][]types.BaseVirtualMachineProfileSpec
	for _, d := range VolumeDisks(c) {
		got = append(got, d.GetVirtualDeviceConfigSpec().Profile)
	}
	want := [][]types.BaseVirtualMachineProfileSpec{{&types.VirtualMachineDefinedProfileSpec{ProfileId: "aa6d5a82-1c88-45da-85d3-3d74b91a5bad"}}, nil}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
