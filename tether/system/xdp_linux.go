package system

import (
	"errors"
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// xdpChunk is the least memory that a socket of AF_XDP may have.
const xdpChunk = 4096

// XDPHold keeps others from sending through AF_XDP sockets, which would pass by
// every filter: a queue of a card has at most one such socket, and these are ours.
type XDPHold struct{ sockets []int }

// HoldXDP takes the AF_XDP place of each queue of an interface. It fails with
// EBUSY when somebody else has one of them.
func HoldXDP(link string) (*XDPHold, error) {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return nil, fmt.Errorf("hold AF_XDP of %s: %w", link, err)
	}
	h := &XDPHold{}
	for queue := uint32(0); ; queue++ {
		fd, err := xdpSocket(i.Index, queue)
		switch {
		case err == nil:
			h.sockets = append(h.sockets, fd)
		case errors.Is(err, unix.EAFNOSUPPORT): // nobody can
			return h, nil
		case errors.Is(err, unix.EINVAL) && queue > 0: // there is no such queue
			return h, nil
		default:
			h.Close()
			return nil, fmt.Errorf("hold AF_XDP of %s, queue %d: %w", link, queue, err)
		}
	}
}

// Close lets others have the places.
func (h *XDPHold) Close() {
	for _, fd := range h.sockets {
		_ = unix.Close(fd)
	}
	h.sockets = nil
}

// xdpSocket binds a socket to a queue. It has what the kernel asks for, one piece
// of memory and rings of one entry, and never sends or receives.
func xdpSocket(index int, queue uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	memory, err := unix.Mmap(-1, 0, xdpChunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	defer func() { _ = unix.Munmap(memory) }() // the kernel holds its pages
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&memory[0]))), Len: xdpChunk, Size: xdpChunk}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	if errno != 0 {
		err = errno
	}
	for _, ring := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_TX_RING} {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_XDP, ring, 1)
		}
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrXDP{Flags: unix.XDP_COPY, Ifindex: uint32(index), QueueID: queue})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
