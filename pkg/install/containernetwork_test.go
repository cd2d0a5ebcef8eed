package install

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

func TestContainerNetworks(t *testing.T) {
	got, wrong := ParseContainerNetworks(ContainerNetworkOptions{
		Networks:  []string{"vm-net", "VM Network:dhcp", "a:b:static", "open:"},
		Gateways:  []string{"a:b:10.2.0.1/16"},
		IPRanges:  []string{"a:b:10.2.1.0/24", "a:b:10.2.2.10-10.2.2.99"},
		DNS:       []string{"a:b:10.2.0.2", "a:b:10.2.0.3", "VM Network:192.0.2.1"},
		Firewalls: []string{"open:Open", "a:b:peers"},
	})
	want := []spec.ContainerNetwork{
		{Name: "vm-net", PortGroup: "vm-net", Trust: spec.TrustPublished},
		{Name: "dhcp", PortGroup: "VM Network", DNS: []string{"192.0.2.1"}, Trust: spec.TrustPublished},
		{Name: "static", PortGroup: "a:b", Gateway: "10.2.0.1/16", Ranges: []string{"10.2.1.0/24", "10.2.2.10-10.2.2.99"},
			DNS: []string{"10.2.0.2", "10.2.0.3"}, Trust: spec.TrustPeers},
		{Name: "open", PortGroup: "open", Trust: spec.TrustOpen},
	}
	if d := cmp.Diff(want, got); d != "" || len(wrong) > 0 {
		t.Errorf("%v\n%s", wrong, d)
	}
	lines := []string{
		"vm-net: port group vm-net, DHCP, firewall published",
		"static: port group a:b, gateway 10.2.0.1/16, addresses 10.2.1.0/24 10.2.2.10-10.2.2.99, DNS 10.2.0.2 10.2.0.3, firewall peers",
	}
	if a, b := containerNetworkLine(got[0]), containerNetworkLine(got[2]); a != lines[0] || b != lines[1] {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestContainerNetworksRefused(t *testing.T) {
	type o = ContainerNetworkOptions
	one := []string{"pg:net"}
	for _, c := range []struct {
		in   o
		want string
	}{
		{o{Networks: []string{":x"}}, `--container-network ":x" names no port group`},
		{o{Networks: []string{"VM Network"}}, `Docker cannot call a network "VM Network": give it a name`},
		{o{Networks: []string{"pg:bridge"}}, `the name "bridge" is Docker's own`},
		{o{Networks: []string{"pg:net", "other:net"}}, `the name "net" is given twice`},
		{o{Networks: []string{"pg:net", "pg:other"}}, "the port group is given twice"},
		{o{Networks: one, Gateways: []string{"pgg:10.2.0.1/16"}}, `"pgg" is the port group of no --container-network - suggested values: pg`},
		{o{Networks: one, Gateways: []string{"10.2.0.1/16"}}, "want PORTGROUP:VALUE"},
		{o{Networks: one, Gateways: []string{"pg:10.2.0.1"}}, "want an IPv4 address with the subnet's length"},
		{o{Networks: one, Gateways: []string{"pg:fd00::1/64"}}, "want PORTGROUP:VALUE|is the port group of no"},
		{o{Networks: one, Gateways: []string{"pg:10.2.0.0/16"}}, "10.2.0.0 is not the address of a router"},
		{o{Networks: one, Gateways: []string{"pg:10.2.255.255/16"}}, "10.2.255.255 is not the address of a router"},
		{o{Networks: one, Gateways: []string{"pg:10.2.0.1/16", "pg:10.2.0.2/16"}}, "has a gateway already"},
		{o{Networks: one, Gateways: []string{"pg:172.16.9.1/24"}}, "overlaps the VCH's bridge network 172.16.0.0/16"},
		{o{Networks: []string{"a:x", "b:y"}, Gateways: []string{"a:10.2.0.1/16", "b:10.2.3.1/24"}}, `10.2.3.1/24 of "b" overlaps 10.2.0.1/16 of "a"`},
		{o{Networks: one, IPRanges: []string{"pg:10.2.0.0/24"}}, "has a range and no gateway"},
		{o{Networks: one, Gateways: []string{"pg:10.2.0.1/16"}, IPRanges: []string{"pg:10.3.0.0/24"}}, "is not within the subnet 10.2.0.0/16"},
		{o{Networks: one, Gateways: []string{"pg:10.2.0.1/16"}, IPRanges: []string{"pg:10.2.0.9-10.2.0.1"}}, "ends before it begins"},
		{o{Networks: one, Gateways: []string{"pg:10.2.0.1/16"}, IPRanges: []string{"pg:10.2.1.0/24", "pg:10.2.1.9"}}, "overlaps 10.2.1.0/24"},
		{o{Networks: one, DNS: []string{"pg:dns.example"}}, "want the IPv4 address of a name server"},
		{o{Networks: one, Firewalls: []string{"pg:shut"}}, `"pg:shut" is no trust level - suggested values: closed, open, outbound, peers, published`},
		{o{Networks: one, Firewalls: []string{"pg:open", "pg:closed"}}, "has the level open already"},
	} {
		_, wrong := ParseContainerNetworks(c.in)
		found := false
		for _, i := range wrong {
			for _, w := range strings.Split(c.want, "|") {
				found = found || strings.Contains(i.Error(), w)
			}
		}
		if !found {
			t.Errorf("%+v: %v, want %q", c.in, wrong, c.want)
		}
	}
}

func TestContainerNetworkOnBridge(t *testing.T) {
	f := newFixture(t, true)
	o := f.create()
	o.ContainerNetworks.Networks = []string{"VCH Bridge:b"}
	err := Create(context.Background(), o, f.env())
	if err == nil || !strings.Contains(err.Error(), `--container-network "VCH Bridge" is the bridge network`) || !strings.Contains(err.Error(), "suggested values: VM Network") {
		t.Errorf("%v", err)
	}
}

func TestInspectShowsContainerNetworks(t *testing.T) {
	list, _ := ParseContainerNetworks(ContainerNetworkOptions{Networks: []string{"pg:net"}, Gateways: []string{"pg:10.2.0.1/16"}})
	s := Appliance{VCH: spec.VCH{ContainerNetworks: list}}.summary()
	if all := strings.Join(s.Lines(), "\n"); !strings.Contains(all, "\nContainer network net: port group pg, gateway 10.2.0.1/16, firewall published\n") {
		t.Errorf("%s", all)
	}
	want := []ContainerNetworkInfo{{Name: "net", PortGroup: "pg", Gateway: "10.2.0.1/16", Trust: spec.TrustPublished}}
	if d := cmp.Diff(want, s.ContainerNetworks); d != "" {
		t.Error(d)
	}
}
