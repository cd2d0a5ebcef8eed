// Package qemu runs a machine.Machine as a QEMU process: it implements
// machine.Hypervisor.
//
//	net, _ := vnet.New(vnet.Config{Dir: state, Log: log})
//	h, err := qemu.New(qemu.Config{
//		RunDir:  "/run/user/1000/vic-lab", // short: unix sockets live below it
//		Network: net,                      // anything with Connect
//		Dial:    net.Dial,                 // for serial ports tcp://10.118.0.10:8080
//		Log:     log,
//	})
//	inst, err := h.Start(ctx, m, guest)  // ctx bounds the start, not the VM
//	inst, err := h.Adopt(ctx, m, guest)  // after a restart of the lab
//	h.EndStrays(ctx)                     // what is left of before, and is no VM of the lab's
//	h.Close()                            // let go of the VMs, which stay up
//
// The VM belongs to its own process group and outlives this process; what is
// needed to find it again is kept in a folder of RunDir named for a hash of
// Machine.Dir. Adopt kills what it finds there but can't take over, so that
// an error of Adopt always means "off".
//
// How hardware is mapped. CD-ROM: ide-cd, first in the boot order. Disks:
// pvscsi + scsi-hd on vmdk nodes; a nonpersistent disk is opened read-only
// (QEMU's image lock lets any number of readers in, and no writer beside them)
// under a throwaway overlay that is unlinked as soon as QEMU has it open, so
// guest writes work and vanish; ReadOnly disks have no overlay and the guest
// sees write protection. NICs: vmxnet3 in the order of their slot numbers, each
// a unix socket with 4-byte-length frames to Config.Network. Serial ports:
// isa-serial 0-3; file ports append; network ports are relayed by this process
// and dialled again, 100 ms to 2 s apart, whenever the far end is away, and
// what the guest writes meanwhile is lost, as on ESXi. Guest RPC: virtio-serial
// ports vic.rpci and vic.tclo served by package guestrpc. Disk flushes don't
// reach the platter (cache.no-flush): a lab may lose data with its computer,
// not with its process.
//
// KVM is used only when proven: see Config.Accel.
//
// It must not know the simulator, datastores or port group semantics.
//
// Start reading at args.go (pure: Machine to arguments), then start.go.
package qemu
