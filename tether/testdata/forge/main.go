// Command forge sends frames as they are given, past the kernel's own network
// code: what a hostile process with CAP_NET_RAW can do. It is for the tests of the
// guest's packet filter.
//
//	forge INTERFACE HEX…
//	forge -xdp INTERFACE
//
// Each frame is sent in every way that a packet socket has: with and without the
// queues, and with a protocol that is not the frame's. With -xdp it tries to get a
// socket that would pass by the kernel's hooks altogether.
package main

import (
	"encoding/hex"
	"fmt"
	"math/bits"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/tether/system"
)

// Protocols that a sender may claim: none, IPv4, ARP, IPv6, VLAN, all.
var protocols = []uint16{0, unix.ETH_P_IP, unix.ETH_P_ARP, unix.ETH_P_IPV6, unix.ETH_P_8021Q, unix.ETH_P_ALL}

func main() {
	err := xdp(os.Args[1:])
	if os.Args[1] != "-xdp" {
		err = run(os.Args[1], os.Args[2:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("sent")
}

func xdp(args []string) error {
	if args[0] != "-xdp" {
		return nil
	}
	hold, err := system.HoldXDP(args[1])
	if err != nil {
		return err
	}
	hold.Close()
	return nil
}

func run(name string, frames []string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	for bypass := range 2 {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		if err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, bypass); err != nil {
			return err
		}
		for _, text := range frames {
			frame, err := hex.DecodeString(text)
			if err != nil {
				return err
			}
			for _, p := range protocols {
				to := &unix.SockaddrLinklayer{Ifindex: link.Index, Protocol: bits.ReverseBytes16(p), Halen: 6}
				// That the filter drops it may be an error here, and is none of ours.
				_ = unix.Sendto(fd, frame, 0, to)
			}
		}
		if err := unix.Close(fd); err != nil {
			return err
		}
	}
	return nil
}
