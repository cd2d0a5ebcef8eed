package exec

import (
	"testing"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// shrink makes a container's VM as an older version made it.
func (l *lab) shrink(v spec.View, change func(*spec.Container)) {
	l.t.Helper()
	ctx := l.t.Context()
	vm := must(l.admin.VM(ctx, l.vm(v)))
	before := must(guestinfo.DecodeContainer(guestinfo.FromMap(vm.Config)))
	after := before
	change(&after)
	set, del := guestinfo.Diff(must(guestinfo.EncodeContainer(before)), must(guestinfo.EncodeContainer(after)))
	for _, k := range del {
		set[k] = ""
	}
	if err := l.admin.Reconfigure(ctx, l.vm(v), types.VirtualMachineConfigSpec{MemoryMB: 64, ExtraConfig: vsphere.ExtraConfig(set)}); err != nil {
		l.t.Fatal(err)
	}
}

// Containers of a VCH that an older version installed, when less memory than now was
// enough to boot: they are there after an upgrade, can be changed, and start.
func TestContainersOfAnOlderVersion(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		ctx := t.Context()
		e := l.boot()
		asked, unlimited, byDefault := container(1), container(2), container(3)
		asked.Limits.Memory = 70 << 20
		views := map[string]spec.View{}
		for _, c := range []spec.Container{asked, unlimited, byDefault} {
			views[c.ID] = must(e.Create(ctx, c))
		}
		e.stop()
		l.shrink(views[asked.ID], func(c *spec.Container) { c.Resources.MemoryMB = 64 })
		l.shrink(views[unlimited.ID], func(c *spec.Container) { c.Resources.MemoryMB = 64 })
		l.shrink(views[byDefault.ID], func(*spec.Container) {}) // the VCH's default was too little

		e = l.boot(func(c *Config) { c.MemoryMB = 64 })
		if n := len(e.Containers()); n != 3 {
			t.Fatalf("%d containers are listed, want 3", n)
		}
		note := func(s *spec.Container) error {
			s.Annotations = map[string]string{"docker.restarts": "1"}
			return nil
		}
		if err := e.Reshape(ctx, asked.ID, note); err != nil {
			t.Errorf("a change that is not of its memory: %v", err)
		}
		for _, c := range []struct {
			id            string
			memory, limit int64 // MiB, bytes
		}{
			{asked.ID, spec.MinMemoryMB, 70 << 20},
			{unlimited.ID, spec.MinMemoryMB, 64 << 20},
			{byDefault.ID, 0, 0},
		} {
			if err := e.Start(ctx, c.id); err != nil {
				t.Fatal(err)
			}
			vm := must(l.admin.VM(ctx, l.vm(views[c.id])))
			guest := must(guestinfo.DecodeContainer(guestinfo.FromMap(vm.Config)))
			if err := guest.Validate(); err != nil {
				t.Errorf("the guest refuses it: %v", err)
			}
			if guest.Resources.MemoryMB != c.memory || guest.Limits.Memory != c.limit {
				t.Errorf("the guest is told of %d MiB and a limit of %d", guest.Resources.MemoryMB, guest.Limits.Memory)
			}
			if h := must(l.admin.Hardware(ctx, l.vm(views[c.id]))); h.MemoryMB != spec.MinMemoryMB {
				t.Errorf("its VM has %d MiB", h.MemoryMB)
			}
			if err := e.Stop(ctx, c.id, "", 10*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	})
}
