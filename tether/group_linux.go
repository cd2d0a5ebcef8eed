package tether

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
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

// room is what the container may have of the guest's memory.
type room struct {
	mu    sync.Mutex
	bytes int64 // 0: nothing holds it, or not yet
	total int64 // of the guest then
}

// giveRoom lets the container have the memory that is left.
func (c *Container) giveRoom() {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	m, err := system.ReadMemory()
	c.room.total = m.Total
	if err == nil && int64(m.Available) > 2*ownMemory {
		c.room.bytes = int64(m.Available) - ownMemory
		err = c.group.SetRoom(c.room.bytes)
	}
	if err != nil {
		c.log.WithError(err).Warn("nothing keeps the container from taking all memory")
	}
}

// pageShare is the part of new memory that the kernel takes for itself, to keep
// account of it: 64 bytes for each page of 4 KiB.
const pageShare = 64

// spareMemory is what the guest must have left when it has taken new memory, in bytes:
// one of 128 MiB with 6 MiB left did not survive to take 128 more, and what the container
// takes in the meantime comes off too.
const spareMemory = 16 << 20

// takes tells whether a guest with so many bytes available can take so many MiB more:
// what keeps account of them is of the memory that there is. A kernel that has too
// little for that does not take what it is given, and has nothing left for anything
// else (it panics).
func takes(available, mb int64) error {
	need := mb << 20 / pageShare
	if available >= need+spareMemory {
		return nil
	}
	return errdefs.ErrResourceExhausted.WithMessage(fmt.Sprintf("the guest has %d MiB of memory to spare, and would need %d for %d MiB more",
		max(0, available-spareMemory)>>20, need>>20, mb))
}

// enlargeWait is how long what the VM has got may take to appear: less than the
// engine waits for the answer, which tells what is missing.
const enlargeWait = 20 * time.Second

// enlarge uses the CPUs and the memory that the VM has got since its boot, and lets
// the container have the memory. Before the process starts that is only noticed, as
// giveRoom comes after.
func (c *Container) enlarge(ctx context.Context, want spec.Size) error {
	if want.Ahead {
		m, err := system.ReadMemory()
		if err != nil {
			return err
		}
		return takes(m.Available, want.MemoryMB)
	}
	ctx, cancel := context.WithTimeout(ctx, enlargeWait)
	defer cancel()
	if err := (system.HotAdd{Sys: "/sys"}).Enlarge(ctx, want); err != nil {
		return err
	}
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	if c.room.bytes == 0 {
		return nil
	}
	m, err := system.ReadMemory()
	if err != nil {
		return err
	}
	more := m.Total - c.room.total
	if more <= 0 {
		return nil
	}
	now := c.room.bytes + more - more/pageShare
	if err := c.group.SetRoom(now); err != nil {
		return fmt.Errorf("room of the container: %w", err)
	}
	c.room.bytes, c.room.total = now, m.Total
	c.log.WithField("MiB", m.Total>>20).Info("memory has grown")
	return nil
}
