package lab

import (
	"crypto/rand"
	"net"
	"sync"
)

// macPool hands out addresses that no other card of the lab has had.
type macPool struct {
	mu   sync.Mutex
	used map[string]bool
}

func (p *macPool) keep(mac string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used == nil {
		p.used = map[string]bool{}
	}
	p.used[mac] = true
}

// next makes an address: 00:0c:29 is VMware's range for those a host generates,
// 00:50:56:80 to bf for those that vCenter assigns.
func (p *macPool) next(assigned bool) string {
	for {
		var b [3]byte
		_, _ = rand.Read(b[:]) // never fails
		hw := net.HardwareAddr{0x00, 0x0c, 0x29, b[0], b[1], b[2]}
		if assigned {
			hw = net.HardwareAddr{0x00, 0x50, 0x56, 0x80 | b[0]&0x3f, b[1], b[2]}
		}
		p.mu.Lock()
		taken := p.used[hw.String()]
		p.mu.Unlock()
		if !taken {
			p.keep(hw.String())
			return hw.String()
		}
	}
}
