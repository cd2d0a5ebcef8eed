package rpci

import (
	"os"
	"sync"

	"github.com/vmware/vmw-guestinfo/message"
	"github.com/vmware/vmw-guestinfo/vmcheck"
)

// The protocol numbers of the two channels: "RPCI" and "TCLO", little endian.
const (
	protocolRPCI uint32 = 0x49435052
	protocolTCLO uint32 = 0x4f4c4354
)

// haveBackdoor asks CPUID only: on another hypervisor the I/O port may fault,
// and QEMU answers some commands on it but no messages.
func haveBackdoor() bool { return vmcheck.IsVirtualCPU() }

// backdoor is RPCI over VMware's I/O port.
type backdoor struct {
	mu     sync.Mutex // one request at a time; guards what follows
	ch     *message.Channel
	closed bool
}

func newBackdoor() (*backdoor, error) {
	ch, err := message.NewChannel(protocolRPCI)
	if err != nil {
		return nil, err
	}
	return &backdoor{ch: ch}, nil
}

func (b *backdoor) roundTrip(msg []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, os.ErrClosed
	}
	reply, err := b.try(msg)
	if err != nil {
		// A vMotion or a resume from a snapshot ends open channels.
		reply, err = b.try(msg)
	}
	return reply, err
}

func (b *backdoor) try(msg []byte) ([]byte, error) {
	if b.ch == nil {
		ch, err := message.NewChannel(protocolRPCI)
		if err != nil {
			return nil, err
		}
		b.ch = ch
	}
	err := b.ch.Send(msg)
	var reply []byte
	if err == nil {
		reply, err = b.ch.Receive()
	}
	if err != nil {
		_ = b.ch.Close()
		b.ch = nil
	}
	return reply, err
}

func (b *backdoor) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.ch == nil {
		return nil
	}
	err := b.ch.Close()
	b.ch = nil
	return err
}

// backdoorTCLO carries the host's requests. The backdoor has no interrupt, so
// the toolbox polls it; Receive gives nothing when there is nothing.
type backdoorTCLO struct{ ch *message.Channel }

func newBackdoorTCLO() Channel { return &backdoorTCLO{} }

func (t *backdoorTCLO) Start() error {
	ch, err := message.NewChannel(protocolTCLO)
	if err != nil {
		return err
	}
	t.ch = ch
	return nil
}

func (t *backdoorTCLO) Stop() error {
	if t.ch == nil {
		return nil
	}
	err := t.ch.Close()
	t.ch = nil
	return err
}

func (t *backdoorTCLO) Send(msg []byte) error {
	if t.ch == nil {
		return os.ErrClosed
	}
	return t.ch.Send(msg)
}

func (t *backdoorTCLO) Receive() ([]byte, error) {
	if t.ch == nil {
		return nil, os.ErrClosed
	}
	return t.ch.Receive()
}
