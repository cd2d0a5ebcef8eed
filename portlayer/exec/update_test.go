package exec

import (
	"errors"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	viclab "github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// A change begins with what was read last, when that may still be so. Should somebody
// else have changed the VM since, vSphere refuses it, and it is made of what is there.
func TestUpdateAsRead(t *testing.T) {
	l := newOwnLab(t, viclab.ModeESXi)
	e := l.boot()
	c := container(1)
	v, err := e.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	e.next(1)
	ctl, err := e.find(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	read := func() (vsphere.VM, spec.Container) {
		t.Helper()
		if err := e.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		vm, before, ok := ctl.asRead()
		if !ok {
			t.Fatal("what was read is not known")
		}
		return vm, before
	}
	note := func(key string) func(*spec.Container) error {
		return func(c *spec.Container) error {
			if c.Annotations == nil {
				c.Annotations = map[string]string{}
			}
			c.Annotations[key] = "v"
			return nil
		}
	}
	old, before := read()

	// Somebody else changes it, and nobody has heard.
	theirs := before
	theirs.Labels = map[string]string{"theirs": "1"}
	keys, err := guestinfo.EncodeContainer(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.admin.Reconfigure(t.Context(), l.vm(v), types.VirtualMachineConfigSpec{ExtraConfig: vsphere.ExtraConfig(keys)}); err != nil {
		t.Fatal(err)
	}
	ctl.mu.Lock()
	ctl.spec, ctl.read, ctl.readGen = before, old.ChangeVersion, ctl.gen
	ctl.mu.Unlock()
	tries := 0
	err = e.Update(t.Context(), c.ID, func(s *spec.Container) error { tries++; return note("a")(s) })
	if err != nil || tries != 2 {
		t.Errorf("%v after %d tries", err, tries)
	}
	if _, _, ok := ctl.asRead(); ok {
		t.Error("what was read before a change is believed after it")
	}
	if vm, now := read(); now.Labels["theirs"] != "1" || now.Annotations["a"] != "v" || vm.ChangeVersion == old.ChangeVersion {
		t.Errorf("version %s, %+v", vm.ChangeVersion, now)
	}

	// One that is refused changes nothing of what is known, not even in its maps.
	refused := errors.New("refused")
	if err := e.Update(t.Context(), c.ID, func(s *spec.Container) error { s.Labels["theirs"] = "2"; return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if _, now, ok := ctl.asRead(); !ok || now.Labels["theirs"] != "1" {
		t.Errorf("%v %+v", ok, now.Labels)
	}

	// When the answer is lost, nobody knows.
	ctl.doubt()
	if _, _, ok := ctl.asRead(); ok {
		t.Error("a VM that may have been changed is believed to be as it was read")
	}
	tries = 0
	if err := e.Update(t.Context(), c.ID, func(s *spec.Container) error { tries++; return note("b")(s) }); err != nil || tries != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
	if _, now := read(); len(now.Annotations) != 2 {
		t.Errorf("%+v", now.Annotations)
	}
}
