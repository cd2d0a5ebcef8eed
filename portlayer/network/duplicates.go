package network

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Claim is what a station on the bridge says by ARP: an address is at its card.
type Claim struct {
	MAC  string // in lower case, with colons
	Addr netip.Addr
}

// arpForIPv4 is how ARP for IPv4 on Ethernet begins, behind Ethernet's addresses:
// its type, then hardware and protocol with their lengths (RFC 826).
var arpForIPv4 = []byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4}

// ParseARP reads what the sender of an Ethernet frame claims. Other frames, and
// questions that claim nothing (RFC 5227's probes), do not.
func ParseARP(frame []byte) (Claim, bool) {
	const kind, hardware, protocol, end = 12, 22, 28, 42
	if len(frame) < end || !bytes.Equal(frame[kind:kind+len(arpForIPv4)], arpForIPv4) {
		return Claim{}, false
	}
	addr := netip.AddrFrom4([4]byte(frame[protocol : protocol+4]))
	return Claim{net.HardwareAddr(frame[hardware : hardware+6]).String(), addr}, !addr.IsUnspecified()
}

// Usurped tells whether a claim is to an address that is somebody else's: of a
// container, its owner, or of the VCH, when owner is empty.
func (s State) Usurped(c Claim, gatewayMAC string) (owner string, wrong bool) {
	for _, sc := range s.Scopes {
		if sc.external() {
			continue // another wire
		}
		if c.Addr == sc.Gateway {
			return "", !strings.EqualFold(c.MAC, gatewayMAC)
		}
		if owner, ok := sc.Leases[c.Addr]; ok {
			return owner, s.macs[c.MAC] != owner
		}
	}
	return "", false
}

const (
	// remembered is how long a claim counts that is not heard again. Who uses an
	// address asks for others' at least as often as their entries grow old.
	remembered = 10 * time.Minute
	// maxDuplicates bounds what is remembered: anybody may claim anything.
	maxDuplicates = 64
)

// Duplicates remembers claims to addresses of others. The zero value has none.
type Duplicates struct {
	mu   sync.Mutex // guards seen
	seen map[Claim]time.Time
}

// Hear notes a wrong claim, and tells whether it is new.
func (d *Duplicates) Hear(c Claim, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)
	_, known := d.seen[c]
	if !known && len(d.seen) >= maxDuplicates {
		return false
	}
	if d.seen == nil {
		d.seen = map[Claim]time.Time{}
	}
	d.seen[c] = now
	return !known
}

func (d *Duplicates) forget(now time.Time) {
	for c, at := range d.seen {
		if now.Sub(at) > remembered {
			delete(d.seen, c)
		}
	}
}

// List gives what was heard lately, by address.
func (d *Duplicates) List(now time.Time) []Claim {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget(now)
	var out []Claim
	for c := range d.seen {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Claim) int {
		if n := a.Addr.Compare(b.Addr); n != 0 {
			return n
		}
		return strings.Compare(a.MAC, b.MAC)
	})
	return out
}

// String says what is claimed.
func (c Claim) String() string { return fmt.Sprintf("%s at %s", c.Addr, c.MAC) }
