package tether

import (
	"context"
	"fmt"
	"os"
	"strconv"

	"github.com/vic-engine/vic/tether/cgroup"
	"github.com/vic-engine/vic/tether/system"
)

// ownMemory is what the container leaves to tether and the kernel of what is
// available when its process starts, in bytes: room for a few clients' output, and
// for a kernel that has to make some.
const ownMemory = 8 << 20

// controlGroup makes the container's control group with its limits.
func (c *Container) controlGroup(context.Context) (err error) {
	if err := system.Cgroups(); err != nil {
		return err
	}
	if c.group, err = cgroup.Make(system.CgroupDir, c.spec.Limits); err != nil {
		return err
	}
	if n := c.spec.Limits.OOMScoreAdj; n != 0 {
		// Every process inherits it from us, whom the kernel never ends.
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(n)), 0); err != nil {
			return fmt.Errorf("OOM score adjustment: %w", err)
		}
	}
	return nil
}

// giveRoom lets the container have the memory that is left.
func (c *Container) giveRoom() {
	m, err := system.ReadMemory()
	if err == nil && int64(m.Available) > 2*ownMemory {
		err = c.group.SetRoom(int64(m.Available) - ownMemory)
	}
	if err != nil {
		c.log.WithError(err).Warn("nothing keeps the container from taking all memory")
	}
}
