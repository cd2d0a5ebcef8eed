package iprange

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"
)

// A Range is all addresses from From to To, both included. The zero value has
// none.
type Range struct{ From, To netip.Addr }

// Parse reads a network in CIDR form, "first-last" or one address. What is none
// of these: ErrInvalidArgument.
func Parse(text string) (Range, error) {
	if first, last, ok := strings.Cut(text, "-"); ok {
		from, err1 := netip.ParseAddr(first)
		to, err2 := netip.ParseAddr(last)
		if err1 != nil || err2 != nil || !from.Is4() || !to.Is4() {
			return bad(text)
		}
		if to.Less(from) {
			return Range{}, fmt.Errorf("%q: the range ends before it begins: %w", text, errdefs.ErrInvalidArgument)
		}
		return Range{from, to}, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
		return Of(p), nil
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		return Range{a, a}, nil
	}
	return bad(text)
}

func bad(text string) (Range, error) {
	return Range{}, fmt.Errorf("%q is no range of IPv4 addresses: want one like 10.2.1.0/24 or 10.2.1.10-10.2.1.99: %w", text, errdefs.ErrInvalidArgument)
}

// Of is all of an IPv4 network, with its first and last address.
func Of(p netip.Prefix) Range {
	first := p.Masked().Addr()
	b := first.As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return Range{first, netip.AddrFrom4(b)}
}

// Contains tells whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return r.From.IsValid() && a.Is4() && !a.Less(r.From) && !r.To.Less(a)
}

// Overlaps tells whether two ranges have an address in common.
func (r Range) Overlaps(o Range) bool { return r.Contains(o.From) || o.Contains(r.From) }

// Within tells whether all of the range is in a network.
func (r Range) Within(p netip.Prefix) bool { return p.Contains(r.From) && p.Contains(r.To) }

// String is what Parse reads.
func (r Range) String() string {
	if r.From == r.To {
		return r.From.String()
	}
	return r.From.String() + "-" + r.To.String()
}
