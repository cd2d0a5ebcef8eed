package qemu

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

var _ machine.HotAdd = (*instance)(nil)

// memorySlots is how often the memory of one power cycle can grow.
const memorySlots = 16

// Names of what a VM's memory grows by.
func dimmID(n int) string    { return fmt.Sprintf("dimm%d", n) }
func backendID(n int) string { return fmt.Sprintf("ram%d", n) }

// cpuSlot is a place for a CPU, as query-hotpluggable-cpus tells.
type cpuSlot struct {
	Type  string           `json:"type"`
	Props map[string]int64 `json:"props"`
	Path  string           `json:"qom-path"` // of the CPU that is there; empty: none
}

// id names the device, by its place.
func (c cpuSlot) id() string {
	return fmt.Sprintf("cpu%d-%d-%d", c.Props["socket-id"], c.Props["core-id"], c.Props["thread-id"])
}

func (c cpuSlot) device() map[string]any {
	out := map[string]any{"driver": c.Type, "id": c.id()}
	for k, v := range c.Props {
		out[k] = v
	}
	return out
}

// freeCPUs are the first n places without a CPU, such that cpus are there with them.
func freeCPUs(slots []cpuSlot, cpus int) ([]cpuSlot, error) {
	slices.SortFunc(slots, func(a, b cpuSlot) int {
		for _, k := range []string{"socket-id", "die-id", "core-id", "thread-id"} {
			if d := a.Props[k] - b.Props[k]; d != 0 {
				return int(d)
			}
		}
		return 0
	})
	free := slices.DeleteFunc(slices.Clone(slots), func(s cpuSlot) bool { return s.Path != "" })
	n := max(0, cpus-(len(slots)-len(free)))
	if n > len(free) {
		return nil, fmt.Errorf("%d CPUs: this VM was started with room for %d: %w", cpus, len(slots), errdefs.ErrResourceExhausted)
	}
	return free[:n], nil
}

// Grow implements machine.HotAdd. QEMU itself knows what there is, so that a lab
// that has been started anew does. Whether there is room is looked at first: a CPU
// that a guest has taken is not got back at once.
func (i *instance) Grow(ctx context.Context, cpus int, memoryMB int64) error {
	i.hot.Lock()
	defer i.hot.Unlock()
	ctx, cancel := i.command(ctx)
	defer cancel()
	var slots []cpuSlot
	if err := i.qmp.run(ctx, "query-hotpluggable-cpus", nil, &slots); err != nil {
		return err
	}
	free, err := freeCPUs(slots, cpus)
	if err != nil {
		return fmt.Errorf("VM %s: %w", i.m.Name, err)
	}
	if err := i.growMemory(ctx, memoryMB); err != nil {
		return err
	}
	for _, c := range free {
		if err := i.qmp.run(ctx, "device_add", c.device(), nil); err != nil {
			return err
		}
	}
	return nil
}

// growMemory adds the memory that is missing, in one piece or not at all.
func (i *instance) growMemory(ctx context.Context, memoryMB int64) error {
	var now struct {
		Base    int64 `json:"base-memory"`
		Plugged int64 `json:"plugged-memory"`
	}
	if err := i.qmp.run(ctx, "query-memory-size-summary", nil, &now); err != nil {
		return err
	}
	more := memoryMB<<20 - now.Base - now.Plugged
	if more <= 0 {
		return nil
	}
	have, err := i.devices(ctx)
	if err != nil {
		return err
	}
	n := 0
	for have[dimmID(n)] {
		n++
	}
	if n >= memorySlots {
		return fmt.Errorf("VM %s: its memory has grown %d times since it was started: %w", i.m.Name, n, errdefs.ErrResourceExhausted)
	}
	backend := map[string]any{"qom-type": "memory-backend-ram", "id": backendID(n), "size": more}
	if err := i.qmp.run(ctx, "object-add", backend, nil); err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
	}
	err = i.qmp.run(ctx, "device_add", map[string]any{"driver": "pc-dimm", "id": dimmID(n), "memdev": backendID(n)}, nil)
	if err == nil {
		return nil
	}
	late, cancel := context.WithTimeout(i.ctx, commandLimit)
	defer cancel()
	if derr := i.qmp.run(late, "object-del", map[string]any{"id": backendID(n)}, nil); derr != nil {
		i.log.WithError(derr).Warn("memory of a change that failed stays taken")
	}
	return fmt.Errorf("%w: %w", err, errdefs.ErrResourceExhausted)
}
