package main

import (
	"github.com/vic-engine/vic/isos"
)

// demandNAT is what a bare VM loads to be a router.
const demandNAT = "nat"

// bareManifest is the boot image of bare VMs: the kernel, command line and
// drivers of bootstrap.iso, and in the place of tether a shell that does what
// the first serial port says. Nothing of ours runs in it.
func bareManifest() isos.Manifest {
	boot := isos.Bootstrap()
	modules := boot.Modules[:len(boot.Modules):len(boot.Modules)]
	for _, n := range []string{"nf_tables", "nf_conntrack", "nft_chain_nat", "nft_masq"} {
		modules = append(modules, isos.Module{Name: n, Demand: demandNAT})
	}
	files := []isos.File{
		{Path: "init", Mode: 0o755, Text: bareInit},
		{Path: "bin/busybox", Mode: 0o755, From: "busybox-static:bin/busybox"},
		{Path: "bin/sh", Link: "busybox"},
	}
	for _, d := range []string{"bin", "dev", "proc", "sys", "image"} {
		files = append(files, isos.File{Path: d, Mode: 0o755, Dir: true})
	}
	return isos.Manifest{Name: "bare", Volume: "BARE", Cmdline: boot.Cmdline, Modules: modules, Files: files, Packages: []string{"busybox-static"}}
}

// bareInit loads what is loaded at boot, and obeys: each line is a command, and
// what it says is followed by bareDone and its exit code. The function modules loads
// those of a demand, disk names the device of a unit.
const bareInit = `#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin:/usr/sbin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
modules() {
	while read -r file when device options; do
		case ",${when#demand:}," in *",$1,"*) insmod /lib/modules/$file $options;; esac
	done </lib/modules/load
}
# The kernel probes disks side by side: their letters are in any order.
disk() { echo /dev/$(ls /sys/bus/scsi/devices/*:0:$1:0/block); }
modules now
modules late
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty raw -echo
echo ` + bareDone + ` 0
while read -r line; do
	eval "$line"
	echo ` + bareDone + ` $?
done
`

const bareDone = "bare-done"
