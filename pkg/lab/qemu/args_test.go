package qemu

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

var update = flag.Bool("update", false, "rewrite testdata")

const testUUID = "564d1234-5678-9abc-def0-112233445566"

func containerVM() machine.Machine {
	return machine.Machine{
		ID: "vm-42", Name: "2cf7f483bf6e", UUID: testUUID, Dir: "/ds/2cf7f483bf6e", CPUs: 1, MemoryMB: 256,
		CDROM: "/ds/VCH001/bootstrap.iso",
		Disks: []machine.Disk{
			{Path: "/ds/VIC/img,1.vmdk", Unit: 1, Nonpersistent: true},
			{Path: "/ds/2cf7f483bf6e/2cf7f483bf6e.vmdk", Unit: 0},
			{Path: "/ds/volumes/v.vmdk", Bus: 1, Unit: 2, ReadOnly: true, Nonpersistent: true},
		},
		NICs: []machine.NIC{{Network: "VCH Bridge", MAC: "00:50:56:00:00:01", Slot: 192}},
		Serials: []machine.Serial{
			{URI: "tcp://10.118.0.10:8080"},
			{File: "/ds/2cf7f483bf6e/output.log"},
			{File: "/ds/2cf7f483bf6e/console.log"},
		},
	}
}

func TestArgs(t *testing.T) {
	appliance := machine.Machine{
		ID: "vm-7", Name: "VCH001, the first", UUID: testUUID, Dir: "/ds/VCH001", CPUs: 2, MemoryMB: 1024,
		CDROM: "/ds/VCH001/appliance.iso",
		Disks: []machine.Disk{{Path: "/ds/VCH001/VCH001.vmdk"}},
		NICs: []machine.NIC{
			{Network: "VCH Bridge", MAC: "00:50:56:00:00:02", Slot: 224},
			{Network: "spare", MAC: "00:50:56:00:00:03"},
			{Network: "VM Network", MAC: "00:50:56:00:00:01", Slot: 192},
		},
		Serials: []machine.Serial{{File: "/ds/VCH001/console.log"}, {}},
	}
	for name, c := range map[string]struct {
		m machine.Machine
		a Accel
	}{
		"container":     {containerVM(), Accel{Name: "tcg", TBSizeMB: 64}},
		"container-kvm": {containerVM(), Accel{Name: "kvm"}},
		"appliance":     {appliance, Accel{Name: "tcg", TBSizeMB: 32}},
		"bare":          {machine.Machine{Name: "bare", UUID: testUUID, Dir: "/ds/bare", MemoryMB: 16}, Accel{Name: "tcg", TBSizeMB: 64}},
	} {
		t.Run(name, func(t *testing.T) {
			got := oneLineEach(Args(c.m, Paths{Run: "/run/lab/abc"}, c.a))
			file := filepath.Join("testdata", name+".args")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Error(d)
			}
		})
	}
}

// oneLineEach puts an option and its value on one line.
func oneLineEach(args []string) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte("\n "[map[bool]int{false: 1, true: 0}[strings.HasPrefix(a, "-")]])
		}
		b.WriteString(a)
	}
	return b.String() + "\n"
}

func TestCheck(t *testing.T) {
	if err := Check(containerVM()); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		spoil func(*machine.Machine)
		say   string
	}{
		"uuid":      {func(m *machine.Machine) { m.UUID = "x" }, `UUID "x"`},
		"memory":    {func(m *machine.Machine) { m.MemoryMB = 0 }, "memory of 0 MiB"},
		"unit 7":    {func(m *machine.Machine) { m.Disks[0].Unit = 7 }, "no unit 7"},
		"taken":     {func(m *machine.Machine) { m.Disks[0].Unit = 0 }, "scsi0:0 is taken"},
		"bus":       {func(m *machine.Machine) { m.Disks[0].Bus = 4 }, "no controller scsi4"},
		"mac":       {func(m *machine.Machine) { m.NICs[0].MAC = "00:50,x" }, "MAC address"},
		"nics":      {func(m *machine.Machine) { m.NICs = make([]machine.NIC, 11) }, "11 NICs"},
		"serials":   {func(m *machine.Machine) { m.Serials = make([]machine.Serial, 5) }, "5 serial ports"},
		"uri":       {func(m *machine.Machine) { m.Serials[0].URI = "vSPC.py" }, "serial port 0"},
		"no port":   {func(m *machine.Machine) { m.Serials[0].URI = "tcp://h" }, "no port"},
		"no folder": {func(m *machine.Machine) { m.Dir = "" }, "no folder"},
	} {
		t.Run(name, func(t *testing.T) {
			m := containerVM()
			c.spoil(&m)
			err := Check(m)
			if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.say) {
				t.Errorf("got %v, want %q", err, c.say)
			}
		})
	}
}
