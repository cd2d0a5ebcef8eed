package network

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// ListenARP hears what stations on the network of a NIC claim, until ctx is done
// or the NIC fails.
func ListenARP(ctx context.Context, mac string, heard func(Claim)) error {
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	nic, err := interfaceByMAC(all, mac)
	if err != nil {
		return err
	}
	proto := bits.ReverseBytes16(unix.ETH_P_ARP)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(proto))
	if err != nil {
		return fmt.Errorf("listen to ARP on %s: %w", nic.Name, err)
	}
	f := os.NewFile(uintptr(fd), "arp")
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: nic.Index}); err != nil {
		return fmt.Errorf("listen to ARP on %s: %w", nic.Name, err)
	}
	defer context.AfterFunc(ctx, func() { _ = f.Close() })()
	frame := make([]byte, 128)
	for {
		n, err := f.Read(frame)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, unix.ENETDOWN) {
			continue // it comes up again, and the socket stays
		}
		if err != nil {
			return fmt.Errorf("listen to ARP on %s: %w", nic.Name, err)
		}
		if c, ok := ParseARP(frame[:n]); ok {
			heard(c)
		}
	}
}
