package vnet

import (
	"net"
	"testing"
	"time"
)

// wire is a NIC of a test that sends and gets plain frames.
type wire struct {
	t    *testing.T
	conn net.Conn
	got  chan frame
}

func wired(t *testing.T, n *Network, portGroup, macAddr string) *wire {
	t.Helper()
	near, far := socketpair(t)
	w := &wire{t: t, conn: near, got: make(chan frame, 16)}
	ended := make(chan error, 1)
	go func() { ended <- n.Connect(t.Context(), portGroup, macAddr, far) }()
	go func() {
		defer close(w.got)
		for {
			f, err := readFrame(near)
			if err != nil {
				return
			}
			w.got <- f
		}
	}()
	t.Cleanup(func() {
		_ = near.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return w
}

// ether makes a frame whose last byte tells it apart.
func ether(dst, src string, id byte) frame {
	f := newFrame(ethernetLen + 46)
	d, _ := net.ParseMAC(dst)
	s, _ := net.ParseMAC(src)
	copy(f[lengthLen:], d)
	copy(f[lengthLen+6:], s)
	f[lengthLen+12], f[lengthLen+13] = 0x88, 0xb5 // for experiments (IEEE 802)
	f[len(f)-1] = id
	return f
}

func (w *wire) send(f frame) {
	w.t.Helper()
	if _, err := w.conn.Write(f); err != nil {
		w.t.Fatal(err)
	}
}

// hears waits for the next frame, which must be this one: what a switch drops is
// shown by the frame that comes after it.
func (w *wire) hears(id byte) {
	w.t.Helper()
	select {
	case f := <-w.got:
		if f[len(f)-1] != id {
			w.t.Fatalf("got frame %d, want %d", f[len(f)-1], id)
		}
	case <-time.After(patience):
		w.t.Fatalf("frame %d did not come", id)
	}
}

const everybody, stranger = "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:99"

func TestSecurity(t *testing.T) {
	n := lab(t, Config{NoForwards: true})
	a, b, c := wired(t, n, "bridge", mac1), wired(t, n, "bridge", mac2), wired(t, n, "bridge", mac3)
	// All are there once all hear of the others.
	for end := time.Now().Add(patience); ; {
		n.mu.Lock()
		s := n.switches["bridge"]
		n.mu.Unlock()
		if s != nil {
			s.mu.RLock()
			l := len(s.members)
			s.mu.RUnlock()
			if l == 3 {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("not connected")
		}
	}

	// By default: no other source address, no frames for others.
	a.send(ether(everybody, stranger, 1))
	a.send(ether(everybody, mac2, 2)) // another guest's
	a.send(ether(mac2, mac1, 3))      // to an address that the switch has not seen yet
	a.send(ether(everybody, mac1, 4))
	b.hears(3)
	b.hears(4)
	c.hears(4)

	n.SetSecurity("bridge", Security{ForgedTransmits: true})
	a.send(ether(everybody, stranger, 5))
	b.hears(5)
	c.hears(5)

	n.SetSecurity("bridge", Security{Promiscuous: true})
	a.send(ether(everybody, stranger, 6))
	b.send(ether(mac1, mac2, 7))
	a.hears(7)
	c.hears(7)

	// The policy is the port group's own.
	n.SetSecurity("bridge", Security{})
	n.SetSecurity("other", Security{Promiscuous: true, MACChanges: true, ForgedTransmits: true})
	b.send(ether(everybody, stranger, 8))
	b.send(ether(mac1, mac2, 9))
	a.hears(9)
	b.send(ether(everybody, mac2, 10))
	a.hears(10)
	c.hears(10)
}
