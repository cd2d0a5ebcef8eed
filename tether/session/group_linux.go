package session

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/tether/proc"
)

// procDir is where the guest's own procfs is.
const procDir = "/proc"

// mainGroup is the control group that the container's process starts in. Called
// with mu held.
func (m *Manager) mainGroup() proc.Group {
	if m.group == nil {
		return proc.Group{}
	}
	return proc.Group{Dir: m.group.Dir(), OOMKills: m.oomKills}
}

// execGroup is the one of an exec: where the container's process is now, which may
// have moved itself into a group below its own (a group that has groups with
// controllers below it holds no processes). Called with mu held.
func (m *Manager) execGroup() (proc.Group, error) {
	if m.group == nil {
		return proc.Group{}, nil
	}
	dir, err := m.group.Of(procDir, m.process.Pid())
	if err != nil {
		return proc.Group{}, fmt.Errorf("%w: %w", err, errdefs.ErrConflict) // it ends at this moment
	}
	return proc.Group{Dir: dir, Beside: m.process.Pid(), OOMKills: m.oomKills}, nil
}

// oomKills counts the kernel's kills in the container. m.group is set.
func (m *Manager) oomKills() int {
	n, err := m.group.OOMKills()
	if err != nil {
		m.log.WithError(err).Warn("kills for want of memory are not known")
	}
	return n
}
