package vnet

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// FuzzGuestBytes feeds what a guest may send to the framing, the switch, the
// address watcher and the stack behind the gateway: none may panic.
func FuzzGuestBytes(f *testing.F) {
	f.Add([]byte(arpRequest(mac{0, 0x50, 0x56, 0, 0, 1}, netip.MustParseAddr("10.118.0.33"), Plan{}.Gateway())))
	ip := newFrame(ethernetLen + 28)
	copy(ip[lengthLen:], gatewayMAC[:])
	copy(ip[lengthLen+6:], []byte{0, 0x50, 0x56, 0, 0, 1, 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 118, 0, 9, 10, 118, 0, 1, 8, 0})
	f.Add([]byte(ip))
	f.Add([]byte{0, 0, 0, 1, 0})
	n, err := New(Config{Log: quiet(), NoForwards: true})
	if err != nil {
		f.Fatal(err)
	}
	p := newPort(nil, mac1)
	p.out = make(chan frame) // nobody takes: everything is dropped
	n.uplink.join(p)
	f.Fuzz(func(t *testing.T, b []byte) {
		watch := n.fwd.watcher(p)
		for r := bytes.NewReader(b); ; {
			fr, err := readFrame(r)
			if err != nil {
				return
			}
			if len(fr) < lengthLen+ethernetLen {
				continue
			}
			watch(fr)
			n.uplink.forward(p, fr)
		}
	})
}

func FuzzDHCP(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeInform} {
		m, err := dhcpv4.New(dhcpv4.WithHwAddr([]byte{0, 0x50, 0x56, 0, 0, 1}), dhcpv4.WithMessageType(kind))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.ToBytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		book, _ := loadLeases("", Plan{})
		d := &dhcpServer{log: quiet(), book: book, granted: func(string, netip.Addr) {}}
		if r, err := d.answer(m); err == nil && r != nil {
			if _, err := dhcpv4.FromBytes(r.ToBytes()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
