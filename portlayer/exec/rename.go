package exec

import (
	"context"
	"fmt"
	"regexp"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// renamed gives the container the name that an administrator has given its VM.
// A VM is called by the container's id or by its name; anything else is new.
func (m *Manager) renamed(ctx context.Context, c *Controller, vm vsphere.VM) {
	v, ok := c.listed()
	if !ok || vm.Name == "" || vm.Name == c.id {
		return
	}
	want := containerName(vm.Name)
	other := want + "-" + c.id[:12]
	if v.Container.Name == want || v.Container.Name == other {
		return
	}
	if m.taken(want, c.id) {
		want = other
	}
	err := m.update(ctx, c, true, func(s *spec.Container, now vsphere.VM) error {
		if now.Name == vm.Name {
			s.Name = want
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		c.log().WithError(err).Warn("container could not be renamed like its VM")
	}
}

func (m *Manager) taken(name, except string) bool {
	for _, v := range m.Containers() {
		if v.Container.Name == name && v.Container.ID != except {
			return true
		}
	}
	return false
}

var notInNames = regexp.MustCompile(`[^a-zA-Z0-9_.-]+`)

// containerName makes a VM's name fit for a container.
func containerName(vm string) string {
	n := notInNames.ReplaceAllString(vm, "_")
	if n == "" || !isAlnum(n[0]) {
		n = "vm" + n
	}
	if len(n) == 1 {
		n = fmt.Sprintf("vm_%s", n)
	}
	return n
}

func isAlnum(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}
