// Package vnet is the lab's network: one layer-2 learning switch for each port
// group, made when first named, all in user space and without root.
//
//	plan, claim, err := vnet.ClaimFree("the lab of " + stateDir)
//	n, err := vnet.New(vnet.Config{Plan: plan, Dir: stateDir, Log: log})
//	go n.Run(ctx)                                   // until ctx ends
//	err = n.Connect(ctx, "VCH Bridge", mac, conn)   // a NIC, until conn ends
//	c, err := n.Dial(ctx, "tcp", "10.118.7.10:2376") // as the lab's host
//	shown, ok := plan.HostAddress(addr)             // 10.118.N.x -> 127.118.N.x
//
// The port groups named in Config.External (default "VM Network") are one
// switch with an uplink: the subnet 10.118.N.0/24 of Config.Plan. Its gateway
// 10.118.N.1 is a user-space TCP/IP stack with DHCP (from .10, leases kept by MAC
// in Dir/leases.json), DNS, NAT to wherever this computer can reach, and
// 10.118.N.2 standing for this computer's 127.0.0.1. Each guest address
// 10.118.N.x is forwarded from 127.118.N.x on this computer, for the TCP ports of
// Config.Forwards, from the moment a guest shows that it has the address until
// its NIC is unplugged; so are the TCP and UDP ports that Publish names for its NIC.
// N keeps the labs of one computer apart; a Claim on a
// Plan makes sure that no two have the same.
//
// Frames on a NIC's stream are a uint32 big-endian length and that many bytes.
// A port group has a Security policy, which by default lets a NIC send from its own
// address only, and gives it no frames for others. A guest is never trusted: a bad frame ends its own connection only. Frames
// that a slow guest does not take are dropped, and never hold up the others.
//
// The gateway is gVisor's stack with DNS and UDP translation of
// gvisor-tap-vsock. Its ready-made network is not used: its leases can't be kept,
// it can't be closed, ten connection attempts at once are its most, and a broken
// stream reaches the far end of its forwards as a clean end.
// One connection carries about 95 MB/s from an emulated guest and 20 MB/s to it
// (QEMU 7.2, TCG, two busy cores), 60 MB/s between two stacks in one process.
//
// It must not know VMs, vSphere or QEMU.
//
// Start reading at plan.go and network.go, then switch.go, security.go, gateway.go, dhcp.go,
// forward.go, published.go.
package vnet
