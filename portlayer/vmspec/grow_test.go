package vmspec

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/vsphere"
)

func TestGrow(t *testing.T) {
	grows := func(cpus int32, mb int64) vsphere.Hardware {
		return vsphere.Hardware{CPUs: cpus, MemoryMB: mb, CPUHotAdd: true, MemoryHotAdd: true, MemoryStepMB: 4}
	}
	with := func(h vsphere.Hardware, change func(*vsphere.Hardware)) vsphere.Hardware {
		change(&h)
		return h
	}
	for name, tc := range map[string]struct {
		have    vsphere.Hardware
		want    Size
		get     Size
		refused string
	}{
		"nothing":              {grows(1, 256), Size{1, 256}, Size{1, 256}, ""},
		"less":                 {grows(4, 512), Size{1, 256}, Size{4, 512}, ""},
		"CPUs":                 {grows(1, 256), Size{4, 256}, Size{4, 256}, ""},
		"memory":               {grows(1, 256), Size{1, 512}, Size{1, 512}, ""},
		"both":                 {grows(2, 256), Size{3, 384}, Size{3, 384}, ""},
		"CPUs up, memory down": {grows(1, 256), Size{2, 128}, Size{2, 256}, ""},
		"part of a block":      {grows(1, 256), Size{1, 260}, Size{1, 384}, ""},
		"from part of a block": {grows(1, 100), Size{1, 104}, Size{1, 228}, ""},
		"least":                {grows(1, 96), Size{1, 3000}, Size{1, 3040}, ""},
		"step":                 {with(grows(1, 256), func(h *vsphere.Hardware) { h.MemoryStepMB = 512 }), Size{1, 300}, Size{1, 512}, ""},
		"odd step":             {with(grows(1, 256), func(h *vsphere.Hardware) { h.MemoryStepMB = 192 }), Size{1, 300}, Size{1, 384}, ""},
		"no step":              {with(grows(1, 256), func(h *vsphere.Hardware) { h.MemoryStepMB = 0 }), Size{1, 300}, Size{1, 384}, ""},
		"step never fits":      {with(grows(1, 100), func(h *vsphere.Hardware) { h.MemoryStepMB = 128 }), Size{1, 300}, Size{}, "multiple of vSphere's 128 MiB"},
		"up to 3 GiB":          {grows(1, 256), Size{1, 3072}, Size{1, 3072}, ""},
		"past 3 GiB":           {grows(1, 256), Size{1, 3076}, Size{}, "has 256 MiB of memory and cannot get 3200 while it runs: a Linux VM that starts with at most 3072 MiB"},
		"past it by rounding":  {grows(1, 100), Size{1, 3060}, Size{}, "beyond that (VMware KB 2008405)"},
		"exactly 3 GiB":        {grows(1, 3072), Size{1, 4096}, Size{}, "beyond that"},
		"from more than 3 GiB": {grows(1, 4096), Size{1, 8192}, Size{1, 8192}, ""},
		"limit":                {with(grows(1, 4096), func(h *vsphere.Hardware) { h.MemoryLimitMB = 6144 }), Size{1, 8192}, Size{}, "vSphere lets it have at most 6144 MiB"},
		"up to the limit":      {with(grows(1, 4096), func(h *vsphere.Hardware) { h.MemoryLimitMB = 6144 }), Size{1, 6144}, Size{1, 6144}, ""},
		"no memory hot add":    {with(grows(1, 256), func(h *vsphere.Hardware) { h.MemoryHotAdd = false }), Size{1, 512}, Size{}, "memoryHotAddEnabled"},
		"no CPU hot add":       {with(grows(1, 256), func(h *vsphere.Hardware) { h.CPUHotAdd = false }), Size{2, 256}, Size{}, "has 1 CPUs and cannot get 2 while it runs"},
		"room":                 {with(grows(1, 256), func(h *vsphere.Hardware) { h.MaxCPUs = 8 }), Size{8, 256}, Size{8, 256}, ""},
		"more than the room":   {with(grows(1, 256), func(h *vsphere.Hardware) { h.MaxCPUs = 8 }), Size{9, 256}, Size{}, "made with room for 8 (cpuid.maxVCPUs)"},
		"nor needed":           {vsphere.Hardware{CPUs: 2, MemoryMB: 512}, Size{1, 256}, Size{2, 512}, ""},
		"neither":              {vsphere.Hardware{CPUs: 1, MemoryMB: 256}, Size{2, 512}, Size{}, "memoryHotAddEnabled"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Grow(tc.have, tc.want)
			switch {
			case tc.refused == "" && (err != nil || got != tc.get):
				t.Errorf("%+v, %v, want %+v", got, err, tc.get)
			case tc.refused != "" && (!errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), tc.refused)):
				t.Errorf("%v, want %q", err, tc.refused)
			}
		})
	}
	if _, err := Grow(vsphere.Hardware{CPUs: 1, MemoryMB: 256}, Size{2, 512}); !strings.Contains(err.Error(), "cpuHotAddEnabled") {
		t.Errorf("%v does not tell of the CPUs", err)
	}
}
