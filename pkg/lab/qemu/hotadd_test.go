package qemu

import (
	"maps"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// TestFreeCPUs: the first free places, whatever the order that QEMU tells them in.
func TestFreeCPUs(t *testing.T) {
	slot := func(core int64, there bool) cpuSlot {
		s := cpuSlot{Type: "qemu64-x86_64-cpu", Props: map[string]int64{"socket-id": 0, "core-id": core, "thread-id": 0}}
		if there {
			s.Path = "/machine/unattached/device[0]"
		}
		return s
	}
	slots := []cpuSlot{slot(3, false), slot(2, false), slot(1, false), slot(0, true)}
	for cpus, want := range map[int][]string{
		0: nil, 1: nil, 2: {"cpu0-1-0"}, 3: {"cpu0-1-0", "cpu0-2-0"}, 4: {"cpu0-1-0", "cpu0-2-0", "cpu0-3-0"},
	} {
		got, err := freeCPUs(slots, cpus)
		var ids []string
		for _, s := range got {
			ids = append(ids, s.id())
		}
		if d := cmp.Diff(want, ids); err != nil || d != "" {
			t.Errorf("%d CPUs: %v\n%s", cpus, err, d)
		}
	}
	if got, err := freeCPUs(slots, 5); !errdefs.IsResourceExhausted(err) {
		t.Errorf("more than there is room for: %v, %v", got, err)
	}
	d := slot(2, false).device()
	if diff := cmp.Diff([]any{"qemu64-x86_64-cpu", "cpu0-2-0", int64(2)}, []any{d["driver"], d["id"], d["core-id"]}); diff != "" {
		t.Errorf("%v\n%s", maps.Keys(d), diff)
	}
}
