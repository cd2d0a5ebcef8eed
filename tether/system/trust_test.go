package system

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

func TestTrustRules(t *testing.T) {
	rules, err := TrustRules([]TrustedLink{
		{Link: "eth1", Level: spec.TrustClosed, Ports: []string{"80/tcp"}},
		{Link: "eth2", Level: spec.TrustOutbound, Ports: []string{"80/tcp"}, Peers: []string{"10.2.0.0/16"}},
		{Link: "eth3", Level: spec.TrustPeers, Ports: []string{"80/tcp"}, Peers: []string{"10.2.1.0/24", "10.2.3.5-10.2.3.9"}},
		{Link: "eth4", Level: spec.TrustPublished, Ports: []string{"80/tcp", "53/udp"}, Peers: []string{"10.2.0.0/16"}},
		{Link: "eth5", Level: spec.TrustOpen},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `table inet vic_trust {
	chain in {
		type filter hook prerouting priority -150; policy accept;
		iifname "eth2" ct state established,related accept
		iifname "eth2" drop
		iifname "eth3" ct state established,related accept
		iifname "eth3" ip saddr 10.2.1.0-10.2.1.255 accept
		iifname "eth3" ip saddr 10.2.3.5-10.2.3.9 accept
		iifname "eth3" drop
		iifname "eth4" ct state established,related accept
		iifname "eth4" tcp dport 80 accept
		iifname "eth4" udp dport 53 accept
		iifname "eth4" drop
	}
}
`
	if d := cmp.Diff(want, TrustText(rules)); d != "" {
		t.Error(d)
	}
}

func TestTrustRefuses(t *testing.T) {
	for want, l := range map[string]TrustedLink{
		`trust level ""`:     {Link: "eth1"},
		`trust level "shut"`: {Link: "eth1", Level: "shut"},
		`port "80"`:          {Link: "eth1", Level: spec.TrustPublished, Ports: []string{"80"}},
		`port "0/tcp"`:       {Link: "eth1", Level: spec.TrustPublished, Ports: []string{"0/tcp"}},
		`port "8:8/tcp"`:     {Link: "eth1", Level: spec.TrustPublished, Ports: []string{"8:8/tcp"}},
		`port "80/icmp"`:     {Link: "eth1", Level: spec.TrustPublished, Ports: []string{"80/icmp"}},
		`"everybody"`:        {Link: "eth1", Level: spec.TrustPeers, Peers: []string{"everybody"}},
	} {
		if rules, err := TrustRules([]TrustedLink{l}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, %v", l, rules, err)
		}
	}
}

func TestClosedLink(t *testing.T) {
	const head, in, out = "table netdev vic_eth1 {\n", "\tchain in {\n\t\ttype filter hook ingress device \"eth1\" priority 0; policy drop;\n",
		"\tchain out {\n\t\ttype filter hook egress device \"eth1\" priority 0; policy drop;\n"
	if d := cmp.Diff(head+in+"\t}\n"+out+"\t}\n}\n", TrustedLink{Link: "eth1"}.Closed().String()); d != "" {
		t.Error(d)
	}
	const dhcp = "\t\tether type 0x0800 @ll,112,8 0x45 ip protocol 0x11 "
	want := head + in + dhcp + "@ll,272,32 0x00430044 accept\n\t}\n" + out + dhcp + "ip daddr 0xffffffff @ll,272,32 0x00440043 accept\n\t}\n}\n"
	if d := cmp.Diff(want, TrustedLink{Link: "eth1", DHCP: true}.Closed().String()); d != "" {
		t.Error(d)
	}
}

func TestPeersOf(t *testing.T) {
	for _, c := range []struct {
		given   []string
		address string
		want    []string
	}{
		{[]string{"10.2.1.0/24"}, "10.2.0.9/16", []string{"10.2.1.0/24"}},
		{nil, "10.2.0.9/16", []string{"10.2.0.0/16"}},
		{nil, "", nil},
	} {
		if d := cmp.Diff(c.want, PeersOf(c.given, c.address)); d != "" {
			t.Error(d)
		}
	}
}

func FuzzTrustRules(f *testing.F) {
	f.Add("peers", "10.2.0.0/16", "80/tcp")
	f.Add("published", "10.2.0.1-10.2.0.9", "53/udp")
	f.Add("closed", "", "")
	f.Fuzz(func(t *testing.T, level, peer, port string) {
		rules, err := TrustRules([]TrustedLink{{Link: "eth1", Level: spec.Trust(level), Peers: []string{peer}, Ports: []string{port}}})
		if err != nil {
			return
		}
		open := level == string(spec.TrustOpen) || level == string(spec.TrustClosed)
		if open != (len(rules) == 0) || !open && rules[len(rules)-1] != (TrustRule{Link: "eth1"}) {
			t.Errorf("%s lets in what no rule says: %s", level, TrustText(rules))
		}
	})
}
