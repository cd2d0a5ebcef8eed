package isos

import "io/fs"

// A Manifest is all that one image holds, as data.
type Manifest struct {
	// Name of the image; the file is Name + ".iso".
	Name string
	// Volume is the ISO 9660 volume id, upper case, at most 32 characters.
	Volume string
	// Cmdline is the kernel's command line.
	Cmdline string
	// Modules are kernel modules by name, in the order they are wanted; what
	// they depend on is added before them.
	Modules []Module
	// Files of the initramfs besides the modules. Parent directories are made.
	Files []File
	// Packages are the Debian packages that Files are taken from.
	Packages []string
}

// A Module is a kernel module and when the guest needs it.
type Module struct {
	Name string
	// Device is the beginning of a modalias ("pci:v000015ADd000007C0"): the
	// module is loaded at boot only where such a device is present. Empty
	// means always.
	Device string
	// Options are the module's parameters, "name=value" separated by blanks.
	Options string
	// Late modules are loaded after everything that a process waits for.
	Late bool
	// Demand names what needs the module, if that is not always: the guest loads
	// it when it is asked for. Several names are separated by commas.
	Demand string
	// Disc modules, on demand too, are compressed files of the disc and not in the
	// initramfs, which every boot reads whole. The guest has the disc's drivers on
	// demand (DemandDisc).
	Disc bool
}

// A File is one entry of the initramfs. Exactly one of From, Program, Text,
// Link and Dir says what it is.
type File struct {
	Path string // without a leading slash
	Mode fs.FileMode
	// From is a file of a Debian package, "package:path".
	From string
	// Program is the Go package of a static binary of ours ("cmd/tether").
	Program string
	Text    string
	Link    string // target of a symbolic link
	Dir     bool
	// Join makes one file of all files that match the pattern From, in the
	// order of their names.
	Join bool
}

// Modaliases of the devices whose drivers are not needed everywhere: the guest
// RPC of the lab is virtio; PVSCSI and vmxnet3 are what vSphere gives.
// Vendor ids: 1AF4 Red Hat (virtio), 15AD VMware.
const (
	deviceVirtio = "pci:v00001AF4"
	devicePVSCSI = "pci:v000015ADd000007C0"
	deviceVMXNET = "pci:v000015ADd000007B0"
)

// onlyLUN0 keeps the kernel from asking disks for their logical units
// (BLIST_NOLUN of include/scsi/scsi_devinfo.h): virtual disks have one, and
// QEMU's PVSCSI fails the question, which is repeated for 150 ms for each disk.
const onlyLUN0 = "default_dev_flags=1"

// bootModules is what every VM of ours needs, the way to its configuration
// first. ext4, af_packet and the 8250 UARTs are built into the kernel.
func bootModules() []Module {
	return []Module{
		{Name: "virtio_pci", Device: deviceVirtio},
		{Name: "virtio_console", Device: deviceVirtio},
		{Name: "scsi_mod", Device: devicePVSCSI, Options: onlyLUN0},
		{Name: "vmw_pvscsi", Device: devicePVSCSI},
		{Name: "sd_mod", Device: devicePVSCSI},
		{Name: "vmxnet3", Device: deviceVMXNET},
	}
}

func dirs(names ...string) []File {
	var fs []File
	for _, n := range names {
		fs = append(fs, File{Path: n, Mode: 0o755, Dir: true})
	}
	return fs
}

// quiet is the part of the command line that both images share: no banner
// of the kernel's drivers, but every line that PID 1 writes to /dev/kmsg; an
// oops ends the VM instead of leaving it half alive. Nothing of the TSC: on VMware
// the kernel is told how fast it runs and takes it for reliable by itself
// (vmware_set_capabilities of arch/x86/kernel/cpu/vmware.c); elsewhere it only
// guesses, and must not believe it against the machine's other clocks.
const quiet = "quiet loglevel=4 printk.devkmsg=on panic=-1 oops=panic random.trust_cpu=on no_timer_check cryptomgr.notests audit=0 rcupdate.rcu_expedited=1"

// takeMemory lets the kernel use memory that the VM gets while it runs without
// waiting for somebody to ask for it (Documentation/admin-guide/mm/memory-hotplug.rst).
//
// A kernel that may get memory above 4 GiB sets 64 MiB aside at its boot for devices
// that cannot reach there (max_possible_pfn of arch/x86), a quarter of a container's
// memory. Of a containerVM's devices only the disc is such a one, with one request of at
// most 128 KiB at a time: 512 buffers of 2 KiB will do.
const takeMemory = " memhp_default_state=online swiotlb=512"

// DemandFilter is the packet filter of a container that shares its network's
// port group with other networks (Filtering in package tether/system).
const DemandFilter = "filter"

// DemandTrust is the packet filter of a container on a container network, which
// follows connections (Tracking in package tether/system).
const DemandTrust = "trust"

// DemandPolicy is the rules of policies that concern a container (Policing in
// package tether/system). They follow connections.
const DemandPolicy = "policy"

// moreConnections lets a guest follow 65536 connections, eight for each bucket that
// is asked for. By its own reckoning (nf_conntrack_init_start of
// net/netfilter/nf_conntrack_core.c) the kernel would follow 2048 with 256 MiB of
// memory, and drop what comes beyond.
const moreConnections = "hashsize=8192"

// What a containerVM's kernel learns when a volume asks for it, and the way to
// the modules on the disc (the same names in package tether/system). Of vSphere's
// virtual IDE controller, a PIIX4, the driver is ata_piix.
const (
	DemandDisc = "disc"
	DemandXFS  = "xfs"
	DemandNFS  = "nfs"
)

// What a containerVM's kernel learns when one of these devices is asked for (the
// Needs of spec.Device, and the same names in package tether/system).
const (
	DemandFuse = "fuse"
	DemandTun  = "tun"
	DemandLoop = "loop"
)

// deviceModules are for devices that few containers want.
func deviceModules() []Module {
	return []Module{
		{Name: "fuse", Demand: DemandFuse, Disc: true},
		{Name: "tun", Demand: DemandTun, Disc: true},
		{Name: "loop", Demand: DemandLoop, Disc: true},
	}
}

// volumeModules are for volumes of other kinds than ext4's. Together they are a
// third of all else in the image, so they lie on the disc.
func volumeModules() []Module {
	return []Module{
		{Name: "ata_piix", Demand: DemandDisc},
		{Name: "sr_mod", Demand: DemandDisc},
		{Name: "isofs", Demand: DemandDisc},
		{Name: "xfs", Demand: DemandXFS, Disc: true},
		{Name: "nfsv3", Demand: DemandNFS, Disc: true},
	}
}

// Bootstrap is the image that containerVMs boot.
func Bootstrap() Manifest {
	return Manifest{
		Name:    "bootstrap",
		Volume:  "VIC_BOOTSTRAP",
		Cmdline: "console=ttyS2,115200 " + quiet + takeMemory,
		Modules: append(append(bootModules(), Module{Name: "overlay"},
			Module{Name: "sch_ingress", Demand: DemandFilter},
			Module{Name: "cls_bpf", Demand: DemandFilter},
			Module{Name: "nf_tables", Demand: DemandFilter + "," + DemandTrust + "," + DemandPolicy},
			Module{Name: "nf_conntrack", Options: moreConnections, Demand: DemandTrust + "," + DemandPolicy},
			Module{Name: "nft_ct", Demand: DemandTrust + "," + DemandPolicy},
			Module{Name: "nft_reject_inet", Demand: DemandPolicy}), append(volumeModules(), deviceModules()...)...),
		Files: append(dirs("dev", "proc", "sys", "run", "tmp", "etc"),
			File{Path: "init", Mode: 0o755, Program: "cmd/tether"}),
	}
}

// Appliance is the image of the VCH appliance.
func Appliance() Manifest {
	files := dirs("dev", "proc", "sys", "run", "tmp", "root", "bin", "sbin", "usr/bin", "usr/sbin", "var/lib/vic", "etc/ssl/certs")
	files = append(files,
		File{Path: "init", Mode: 0o755, Program: "cmd/tether"},
		File{Path: "usr/bin/vic-engine", Mode: 0o755, Program: "cmd/vic-engine"},
		File{Path: "var/log", Link: "/var/lib/vic/log"},
		File{Path: "bin/busybox", Mode: 0o755, From: "busybox-static:bin/busybox"},
		File{Path: "sbin/mkfs.ext4", Mode: 0o755, From: "e2fsprogs:sbin/mke2fs"},
		File{Path: "sbin/e2fsck", Mode: 0o755, From: "e2fsprogs:sbin/e2fsck"},
		File{Path: "sbin/mkfs.xfs", Mode: 0o755, From: "xfsprogs:sbin/mkfs.xfs"},
		File{Path: "etc/mke2fs.conf", Mode: 0o644, From: "e2fsprogs:etc/mke2fs.conf"},
		File{Path: "etc/passwd", Mode: 0o644, Text: "root:x:0:0:root:/root:/bin/sh\n"},
		File{Path: "etc/group", Mode: 0o644, Text: "root:x:0:\n"},
		File{Path: "etc/nsswitch.conf", Mode: 0o644, Text: "hosts: files dns\n"},
		File{Path: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Join: true,
			From: "ca-certificates:usr/share/ca-certificates/mozilla/*.crt"},
	)
	for _, a := range applets() {
		files = append(files, File{Path: "bin/" + a, Link: "busybox"})
	}
	for _, l := range [][2]string{ // shared objects of mke2fs, e2fsck and mkfs.xfs
		{"libext2fs2", "libext2fs.so.2"}, {"libext2fs2", "libe2p.so.2"}, {"libcom-err2", "libcom_err.so.2"},
		{"libblkid1", "libblkid.so.1"}, {"libuuid1", "libuuid.so.1"}, {"libc6", "libc.so.6"},
		{"libinih1", "libinih.so.1"}, {"liburcu8", "liburcu.so.8"},
	} {
		dir := "lib/x86_64-linux-gnu/"
		switch l[0] {
		case "libblkid1", "libuuid1", "libinih1", "liburcu8":
			dir = "usr/lib/x86_64-linux-gnu/"
		}
		files = append(files, File{Path: "lib/x86_64-linux-gnu/" + l[1], Mode: 0o755, From: l[0] + ":" + dir + l[1]})
	}
	files = append(files, File{Path: "lib64/ld-linux-x86-64.so.2", Mode: 0o755,
		From: "libc6:lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"})

	modules := bootModules()
	for _, n := range []string{"nf_tables", "nf_conntrack", "nft_chain_nat", "nft_nat", "nft_masq", "nft_redir", "nft_ct", "nft_reject_inet", "nft_reject_ipv4", "nft_reject_ipv6", "nf_conntrack_netlink", "overlay"} {
		modules = append(modules, Module{Name: n, Late: true})
	}
	return Manifest{
		Name:    "appliance",
		Volume:  "VIC_APPLIANCE",
		Cmdline: "console=ttyS0,115200 " + quiet,
		Modules: modules,
		Files:   files,
		Packages: []string{"busybox-static", "e2fsprogs", "libext2fs2", "libcom-err2", "libblkid1", "libuuid1", "libc6",
			"xfsprogs", "libinih1", "liburcu8", "ca-certificates"},
	}
}

// applets are the commands of busybox that somebody debugging an appliance
// looks for.
func applets() []string {
	return []string{"sh", "ash", "ls", "cat", "cp", "mv", "rm", "mkdir", "ln", "ps", "top", "free", "df", "du", "mount", "umount",
		"dmesg", "grep", "sed", "awk", "vi", "less", "more", "head", "tail", "tar", "gzip", "find", "xargs", "sort", "uniq", "wc",
		"ip", "ping", "netstat", "nslookup", "wget", "nc", "telnet", "traceroute", "kill", "killall", "date", "env", "echo", "hostname",
		"id", "uname", "uptime", "chmod", "chown", "touch", "dd", "hexdump", "md5sum", "sha256sum", "stat", "sync", "sleep", "test",
		"true", "false", "lsmod", "fdisk", "blkid", "reboot", "poweroff", "which", "vmstat", "iostat", "lsof", "strings", "clear"}
}
