// Package rpci talks to the hypervisor from inside a VM with VMware's RPCI text
// commands: it reads and writes guestinfo keys and carries the two channels that
// govmomi's toolbox needs. Three transports are probed in this order:
//
//   - VMware's backdoor, when CPUID names VMware as the hypervisor (nothing is
//     tried on another one: the port access could fault);
//   - a virtio-serial port "vic.rpci" (and "vic.tclo" for requests of the host);
//   - the unix socket /run/vic/rpci.sock, on which tether serves the others.
//
// On the port and the socket each message is a big-endian uint32 length and that
// many bytes, at most MaxMessage. The package must not know what the keys mean;
// pkg/guestinfo does.
//
//	c, err := rpci.Open()                  // tether, vic-engine
//	v, ok, err := c.Get(guestinfo.KeyKind) // also: guestinfo.DecodeContainer(c.Get)
//	in, out := c.Channels()                // toolbox.NewService(in, out)
//	rpci.Serve(ctx, listener, c, log)      // the socket for other processes
//
// Start reading at Open.
package rpci
