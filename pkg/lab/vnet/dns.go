package vnet

import (
	"net"
	"net/netip"
	"strings"

	"github.com/containers/gvisor-tap-vsock/pkg/services/dns"
	"github.com/containers/gvisor-tap-vsock/pkg/types"
)

const dnsPort = 53

// services opens DHCP and DNS.
func (g *gateway) services(d *dhcpServer, names map[string]netip.Addr) ([]service, error) {
	dc, err := d.listen(g.stack)
	if err != nil {
		return nil, err
	}
	u, err := g.listenUDP(dnsPort)
	if err != nil {
		_ = dc.Close()
		return nil, err
	}
	t, err := g.listenTCP(dnsPort)
	if err != nil {
		_ = dc.Close()
		_ = u.Close()
		return nil, err
	}
	// Questions about other domains go to this computer's own resolver.
	s, err := dns.New(u, t, zones(names))
	if err != nil {
		_ = dc.Close()
		_ = u.Close()
		_ = t.Close()
		return nil, err
	}
	return []service{
		{"DHCP", func() error { return d.serve(dc) }, dc.Close},
		{"DNS", s.Serve, u.Close},
		{"DNS over TCP", s.ServeTCP, t.Close},
	}, nil
}

func zones(names map[string]netip.Addr) []types.Zone {
	z := types.Zone{Name: Domain + "."}
	for n, a := range names {
		z.Records = append(z.Records, types.Record{Name: n, IP: net.IP(a.AsSlice())})
	}
	return []types.Zone{z}
}

// cutDomain gives the name within the lab's domain.
func cutDomain(host string) (string, bool) {
	return strings.CutSuffix(strings.TrimSuffix(strings.ToLower(host), "."), "."+Domain)
}
