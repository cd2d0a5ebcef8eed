package qemu

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// Accel is how the processor is run.
type Accel struct {
	Name string // "tcg" or "kvm"
	// TBSizeMB is TCG's buffer for translated code. QEMU's own default is a
	// quarter of the host's memory up to 1 GiB: too much for many VMs.
	TBSizeMB int
}

// Bounds of codeBuffer, in MiB.
const minCodeBuffer, maxCodeBuffer = 128, 512

// codeBuffer is how much translated code a VM of memoryMB may have, in MiB.
// When the buffer is full all of it is thrown away and made again, which is most
// of what a busy guest then does. Only what is used takes memory.
func codeBuffer(memoryMB int64) int {
	return int(min(max(memoryMB/2, minCodeBuffer), maxCodeBuffer))
}

// Paths are the places of one VM that are not part of its hardware.
type Paths struct {
	Run string // sockets; the VM's own folder
}

// Names of the sockets in Paths.Run.
func (p Paths) QMP() string         { return filepath.Join(p.Run, "qmp") }
func (p Paths) RPCI() string        { return filepath.Join(p.Run, "rpci") }
func (p Paths) TCLO() string        { return filepath.Join(p.Run, "tclo") }
func (p Paths) NIC(i int) string    { return filepath.Join(p.Run, fmt.Sprintf("net%d", i)) }
func (p Paths) Serial(i int) string { return filepath.Join(p.Run, fmt.Sprintf("ser%d", i)) }

// qmpFD is the number under which QEMU inherits the listening QMP socket: made
// by us, so that a connection can wait for QEMU instead of polling for it.
const qmpFD = 3

// PCI slots on the only bus; 0 is the host bridge, 1 the PIIX3. VMware puts
// pvscsi at 160 and NICs from 192 upward: the same order is kept.
const (
	slotRPC  = 0x02
	slotSCSI = 0x04 // bus 0-3 at 4-7
	slotNIC  = 0x0e // in the order of their pciSlotNumber
	maxNICs  = 10
)

// cpuTCG is a plain 64-bit CPU with a random source, without which a kernel waits
// for entropy at boot. It has no AES instructions: TCG runs each of them and of
// the carry-less multiplications by a call, so that Go's TLS, which prefers
// AES-GCM where they are, encrypts 11 MB/s with them and 84 MB/s by ChaCha20,
// which it prefers where they are not.
const cpuTCG = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand,+rdseed"

// leastMaxCPUs is how many CPUs a VM could have at the least, under TCG. A kernel
// of ours that could get a second one does not take the TSC of such a CPU for a
// clock (unsynchronized_tsc of arch/x86/kernel/tsc.c), but the HPET, whose
// frequency it reads. That of the TSC, which under TCG is the host's, it can only
// measure, and prefers the PIT for that to the HPET (pit_calibrate_tsc there): when
// a busy host lets QEMU wait in that moment, a sixth or a fortieth of it came out,
// and the guest's clock ran that many times too fast.
const leastMaxCPUs = 2

// Args are QEMU's arguments for m. Pure; the guest starts stopped.
func Args(m machine.Machine, p Paths, a Accel) []string {
	b := &argList{}
	b.add("-name", "guest="+esc(m.Name))
	b.add("-uuid", m.UUID)
	// vmport would answer the VMware backdoor's version query without its
	// message channel: a guest must not take this for an ESXi host.
	b.add("-machine", "pc,vmport=off,usb=off")
	switch a.Name {
	case "kvm":
		b.add("-accel", "kvm")
		b.add("-cpu", "host")
		b.size(m, 1)
	default:
		b.add("-accel", fmt.Sprintf("tcg,tb-size=%d", a.TBSizeMB))
		b.add("-cpu", cpuTCG)
		b.size(m, leastMaxCPUs)
	}
	b.add("-no-user-config", "-nodefaults")
	b.add("-display", "none")
	b.add("-rtc", "base=utc")
	b.add("-boot", "order=d,menu=off,strict=on")
	b.add("-action", "reboot=reset,shutdown=poweroff,panic=none")
	b.add("-S")
	b.add("-chardev", fmt.Sprintf("socket,id=qmp,fd=%d,server=on,wait=off", qmpFD))
	b.add("-mon", "chardev=qmp,mode=control")
	b.rpc(p)
	b.cdrom(m)
	b.disks(m)
	b.nics(m, p)
	b.serials(m, p)
	return b.args
}

type argList struct{ args []string }

func (b *argList) add(a ...string)                 { b.args = append(b.args, a...) }
func (b *argList) device(format string, a ...any)  { b.add("-device", fmt.Sprintf(format, a...)) }
func (b *argList) chardev(format string, a ...any) { b.add("-chardev", fmt.Sprintf(format, a...)) }

// size lets room for what may come while the VM runs.
func (b *argList) size(m machine.Machine, leastMaxCPUs int) {
	cpus := max(1, m.CPUs)
	smp := fmt.Sprint(cpus)
	if most := max(m.MaxCPUs, leastMaxCPUs); most > cpus {
		smp += fmt.Sprintf(",maxcpus=%d", most)
	}
	b.add("-smp", smp)
	mem := fmt.Sprintf("size=%dM", m.MemoryMB)
	if m.MaxMemoryMB > m.MemoryMB {
		mem += fmt.Sprintf(",slots=%d,maxmem=%dM", memorySlots, m.MaxMemoryMB)
	}
	b.add("-m", mem)
}

func (b *argList) rpc(p Paths) {
	b.device("virtio-serial-pci,id=rpc,bus=pci.0,addr=%#x,max_ports=4", slotRPC)
	for i, port := range []struct{ id, path string }{{"rpci", p.RPCI()}, {"tclo", p.TCLO()}} {
		b.chardev("socket,id=%s,path=%s,server=on,wait=off", port.id, esc(port.path))
		b.device("virtserialport,id=vic.%s,bus=rpc.0,nr=%d,chardev=%s,name=vic.%s", port.id, i+1, port.id, port.id)
	}
}

func (b *argList) cdrom(m machine.Machine) {
	if m.CDROM == "" {
		b.device("ide-cd,id=ide0-0,bus=ide.0,unit=0") // an empty drive
		return
	}
	b.add("-blockdev", fmt.Sprintf("driver=raw,node-name=cd0,read-only=on,file.driver=file,file.filename=%s", esc(m.CDROM)))
	b.device("ide-cd,id=ide0-0,bus=ide.0,unit=0,drive=cd0,bootindex=0")
}

func (b *argList) disks(m machine.Machine) {
	disks := slices.Clone(m.Disks)
	slices.SortStableFunc(disks, func(x, y machine.Disk) int {
		return cmp.Or(cmp.Compare(x.Bus, y.Bus), cmp.Compare(x.Unit, y.Unit))
	})
	bus := -1
	for _, d := range disks {
		if d.Bus != bus {
			bus = d.Bus
			b.add("-device", controller(bus).text())
		}
		for _, n := range diskNodes(m, d) {
			b.add("-blockdev", n.text())
		}
		b.add("-device", diskDevice(d).text())
	}
}

// redoPath is where a nonpersistent disk's writes go, as ESXi does it in the
// VM's folder; the file has no name any more once QEMU runs.
func redoPath(m machine.Machine, d machine.Disk) string {
	return filepath.Join(m.Dir, fmt.Sprintf("scsi%d-%d.REDO", d.Bus, d.Unit))
}

func (b *argList) nics(m machine.Machine, p Paths) {
	order := nicOrder(m.NICs)
	for i, n := range order {
		b.add("-netdev", netdev(p, n).text())
		b.add("-device", nicDevice(m.NICs[n], n, slotNIC+i).text())
	}
}

// nicOrder gives the NICs' indices in the order of their slots; those without
// one come last, as they would get the next free slot.
func nicOrder(nics []machine.NIC) []int {
	order := make([]int, len(nics))
	for i := range order {
		order[i] = i
	}
	const last = 1 << 30
	slot := func(i int) int {
		if nics[i].Slot <= 0 {
			return last
		}
		return nics[i].Slot
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(slot(a), slot(b)) })
	return order
}

func (b *argList) serials(m machine.Machine, p Paths) {
	for i, s := range m.Serials {
		switch {
		case s.File != "":
			b.chardev("file,id=ser%d,path=%s,append=on", i, esc(s.File))
		case s.URI != "":
			b.chardev("socket,id=ser%d,path=%s,server=on,wait=off", i, esc(p.Serial(i)))
		default:
			b.chardev("null,id=ser%d", i)
		}
		b.device("isa-serial,id=serial%d,chardev=ser%d,index=%d", i, i, i)
	}
}

// esc writes a value into one of QEMU's comma-separated lists.
func esc(s string) string { return strings.ReplaceAll(s, ",", ",,") }
