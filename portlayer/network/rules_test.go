package network

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the files below testdata")

func forward(t *testing.T, port, to string) Forward {
	t.Helper()
	p, err := ParsePort(port)
	if err != nil {
		t.Fatal(err)
	}
	return Forward{p, netip.MustParseAddr(to)}
}

// wanted are the cases of the goldens: what the appliance is to do.
func wanted(t *testing.T) map[string]NAT {
	def := Segment{Gateway: netip.MustParsePrefix("172.16.0.1/16")}
	app := Segment{Gateway: netip.MustParsePrefix("172.17.0.1/16"), Gateway6: netip.MustParsePrefix("fd00:17::1/64")}
	db := Segment{Gateway: netip.MustParsePrefix("10.9.0.1/24"), Gateway6: netip.MustParsePrefix("fd00:9::1/64"), Internal: true}
	return map[string]NAT{
		"plain": {Networks: []Segment{def}},
		"full": {
			Local:    []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("fd00::1")},
			Networks: []Segment{def, app, db},
			Ports: []Forward{
				forward(t, "80:8080/tcp", "172.16.0.2"), forward(t, "192.0.2.7:443:443/tcp", "172.17.0.2"),
				forward(t, "5353:5353/udp", "172.17.0.3"), forward(t, "0.0.0.0:81:81", "172.17.0.3"),
				forward(t, "5353:5353/udp", "fd00:17::3"), forward(t, "[::]:8080:80", "fd00:17::2"), forward(t, "[fd00::1]:443:443", "fd00:17::2"),
			},
		},
	}
}

func TestRulesGolden(t *testing.T) {
	texts := map[string]string{}
	for name, n := range wanted(t) {
		texts[name], texts[name+"6"] = Text(Rules(n)), Text(Rules6(n))
	}
	for name, got := range texts {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("run with -update to accept:\n%s", d)
			}
		})
	}
}

// packet is one that is judged by the rules as the kernel would.
type packet struct {
	in, out  side
	src, dst string
	proto    string
	port     uint16
	ct       ctMatch
}

func judge(rules []Rule, chain string, p packet) string {
	for _, r := range rules {
		if r.chain != chain || r.in != anywhere && r.in != p.in || r.out != anywhere && r.out != p.out ||
			r.src.IsValid() && !r.src.Contains(netip.MustParseAddr(p.src)) || r.dst.IsValid() && !r.dst.Contains(netip.MustParseAddr(p.dst)) ||
			r.proto != "" && r.proto != p.proto || r.port != 0 && r.port != p.port || r.ct != ctAny && r.ct != p.ct {
			continue
		}
		switch r.do {
		case jump:
			if v := judge(rules, r.chainTo, p); v != "" {
				return v
			}
		case dnat:
			return "to " + r.to.String()
		default:
			return string(r.do)
		}
	}
	return ""
}

func TestWhatPasses(t *testing.T) {
	rules := Rules(wanted(t)["full"])
	const def, def2, app, db, world, self = "172.16.0.2", "172.16.0.3", "172.17.0.2", "10.9.0.2", "198.51.100.9", "192.0.2.7"
	for what, tc := range map[string]struct {
		chain string
		p     packet
		want  string
	}{
		"way out":                        {chainForward, packet{in: onBridge, out: outside, src: def, dst: world}, "accept"},
		"way out is masqueraded":         {chainSNAT, packet{in: onBridge, out: outside, src: def, dst: world}, "masquerade"},
		"answer":                         {chainForward, packet{in: outside, out: onBridge, src: world, dst: def, ct: ctEstablished}, "accept"},
		"from outside unasked":           {chainForward, packet{in: outside, out: onBridge, src: world, dst: def}, "drop"},
		"between networks":               {chainForward, packet{in: onBridge, out: onBridge, src: def, dst: app}, "drop"},
		"foreign source":                 {chainForward, packet{in: onBridge, out: outside, src: "203.0.113.1", dst: world}, "drop"},
		"internal out":                   {chainForward, packet{in: onBridge, out: outside, src: db, dst: world}, "drop"},
		"internal out, goes on":          {chainForward, packet{in: onBridge, out: outside, src: db, dst: world, ct: ctEstablished}, "drop"},
		"internal in":                    {chainForward, packet{in: outside, out: onBridge, src: world, dst: db, ct: ctDNAT}, "drop"},
		"not the bridge":                 {chainForward, packet{in: outside, out: outside, src: world, dst: self}, ""},
		"published":                      {chainDNAT, packet{in: outside, src: world, dst: self, proto: "tcp", port: 80}, "to 172.16.0.2:8080"},
		"published, forwarded":           {chainForward, packet{in: outside, out: onBridge, src: world, dst: def, ct: ctDNAT}, "accept"},
		"published keeps the source":     {chainSNAT, packet{in: outside, out: onBridge, src: world, dst: def, ct: ctDNAT}, ""},
		"published for another protocol": {chainDNAT, packet{in: outside, src: world, dst: self, proto: "udp", port: 80}, ""},
		"published on one address":       {chainDNAT, packet{in: outside, src: world, dst: self, proto: "tcp", port: 443}, "to 172.17.0.2:443"},
		"on another address":             {chainDNAT, packet{in: outside, src: world, dst: "192.0.2.8", proto: "tcp", port: 443}, ""},
		"udp":                            {chainDNAT, packet{in: outside, src: world, dst: self, proto: "udp", port: 5353}, "to 172.17.0.3:5353"},
		"hairpin":                        {chainDNAT, packet{in: onBridge, src: def2, dst: self, proto: "tcp", port: 80}, "to 172.16.0.2:8080"},
		"hairpin in the same subnet":     {chainSNAT, packet{in: onBridge, out: onBridge, src: def2, dst: def, ct: ctDNAT}, "masquerade"},
		"hairpin from another":           {chainSNAT, packet{in: onBridge, out: onBridge, src: app, dst: def, ct: ctDNAT}, ""},
		"hairpin passes":                 {chainForward, packet{in: onBridge, out: onBridge, src: app, dst: def, ct: ctDNAT}, "accept"},
		"somebody else's port 80":        {chainDNAT, packet{in: onBridge, src: def2, dst: world, proto: "tcp", port: 80}, ""},
		"internal asks for names":        {chainInput, packet{in: onBridge, src: db, dst: "10.9.0.1", proto: "udp", port: 53}, "accept"},
		"internal asks for names, tcp":   {chainInput, packet{in: onBridge, src: db, dst: "10.9.0.1", proto: "tcp", port: 53}, "accept"},
		"internal asks the VCH":          {chainInput, packet{in: onBridge, src: db, dst: self, proto: "tcp", port: 2376}, "drop"},
		"container asks the VCH":         {chainInput, packet{in: onBridge, src: def, dst: self, proto: "tcp", port: 2376}, "accept"},
		"container reads metrics":        {chainInput, packet{in: onBridge, src: app, dst: self, proto: "tcp", port: 2378}, "accept"},
		"by the gateway's address":       {chainInput, packet{in: onBridge, src: def, dst: "172.16.0.1", proto: "tcp", port: 2376}, "reject with tcp reset"},
		"container at the serial lines":  {chainInput, packet{in: onBridge, src: def, dst: self, proto: "tcp", port: 8080}, "reject with tcp reset"},
		"the same by the gateway":        {chainInput, packet{in: onBridge, src: def, dst: "172.16.0.1", proto: "tcp", port: 8080}, "reject with tcp reset"},
		"container at ssh":               {chainInput, packet{in: onBridge, src: app, dst: self, proto: "tcp", port: 22}, "reject with tcp reset"},
		"container at a closed port":     {chainInput, packet{in: onBridge, src: def, dst: self, proto: "udp", port: 2376}, "reject with icmp port-unreachable"},
		"internal at ssh":                {chainInput, packet{in: onBridge, src: db, dst: "10.9.0.1", proto: "tcp", port: 22}, "drop"},
		"foreign source asks the VCH":    {chainInput, packet{in: onBridge, src: "203.0.113.1", dst: self, proto: "tcp", port: 2376}, "drop"},
		"client at ssh":                  {chainInput, packet{in: outside, src: world, dst: self, proto: "tcp", port: 22}, ""},
		"the lines of ESXi":              {chainInput, packet{in: outside, src: world, dst: self, proto: "tcp", port: 8080}, ""},
		"container goes on with names":   {chainInput, packet{in: onBridge, src: def, dst: "172.16.0.1", proto: "udp", port: 53}, "accept"},
		"client asks the VCH":            {chainInput, packet{in: outside, src: world, dst: self, proto: "tcp", port: 2376}, ""},
	} {
		if got := judge(rules, tc.chain, tc.p); got != tc.want {
			t.Errorf("%s: %q, want %q", what, got, tc.want)
		}
	}
}

func TestWhatPasses6(t *testing.T) {
	rules := Rules6(wanted(t)["full"])
	const app, app2, db, world, self, link = "fd00:17::2", "fd00:17::3", "fd00:9::2", "2001:db8::9", "fd00::1", "fe80::250:56ff:fe00:a"
	for what, tc := range map[string]struct {
		chain string
		p     packet
		want  string
	}{
		"way out":                       {chainForward, packet{in: onBridge, out: outside, src: app, dst: world}, "accept"},
		"way out is masqueraded":        {chainSNAT, packet{in: onBridge, out: outside, src: app, dst: world}, "masquerade"},
		"answer":                        {chainForward, packet{in: outside, out: onBridge, src: world, dst: app, ct: ctEstablished}, "accept"},
		"from outside unasked":          {chainForward, packet{in: outside, out: onBridge, src: world, dst: app}, "drop"},
		"between networks":              {chainForward, packet{in: onBridge, out: onBridge, src: app, dst: db}, "drop"},
		"foreign source":                {chainForward, packet{in: onBridge, out: outside, src: world, dst: world}, "drop"},
		"internal out":                  {chainForward, packet{in: onBridge, out: outside, src: db, dst: world}, "drop"},
		"internal in":                   {chainForward, packet{in: outside, out: onBridge, src: world, dst: db, ct: ctDNAT}, "drop"},
		"the VCH routes for no others":  {chainForward, packet{in: outside, out: outside, src: world, dst: self}, "drop"},
		"published":                     {chainDNAT, packet{in: outside, src: world, dst: self, proto: "tcp", port: 8080}, "to [fd00:17::2]:80"},
		"published on one address":      {chainDNAT, packet{in: outside, src: world, dst: self, proto: "tcp", port: 443}, "to [fd00:17::2]:443"},
		"on another address":            {chainDNAT, packet{in: outside, src: world, dst: "fd00::2", proto: "tcp", port: 443}, ""},
		"published on all":              {chainDNAT, packet{in: outside, src: world, dst: self, proto: "udp", port: 5353}, "to [fd00:17::3]:5353"},
		"published on IPv4":             {chainDNAT, packet{in: outside, src: world, dst: self, proto: "tcp", port: 81}, ""},
		"hairpin":                       {chainDNAT, packet{in: onBridge, src: app2, dst: self, proto: "tcp", port: 8080}, "to [fd00:17::2]:80"},
		"hairpin in the same subnet":    {chainSNAT, packet{in: onBridge, out: onBridge, src: app2, dst: app, ct: ctDNAT}, "masquerade"},
		"internal asks for names":       {chainInput, packet{in: onBridge, src: db, dst: "fd00:9::1", proto: "udp", port: 53}, "accept"},
		"internal looks for neighbours": {chainInput, packet{in: onBridge, src: db, dst: "fd00:9::1", proto: "ipv6-icmp"}, "accept"},
		"internal asks the VCH":         {chainInput, packet{in: onBridge, src: db, dst: self, proto: "tcp", port: 2376}, "drop"},
		"link-local asks the VCH":       {chainInput, packet{in: onBridge, src: link, dst: self, proto: "tcp", port: 2376}, "drop"},
		"container asks the VCH":        {chainInput, packet{in: onBridge, src: app, dst: self, proto: "tcp", port: 2376}, "accept"},
		"container at the serial lines": {chainInput, packet{in: onBridge, src: app, dst: self, proto: "tcp", port: 8080}, "reject with tcp reset"},
		"container at ssh, inside":      {chainInput, packet{in: onBridge, src: app, dst: "fd00:17::1", proto: "tcp", port: 22}, "reject with tcp reset"},
		"container at a closed port":    {chainInput, packet{in: onBridge, src: app, dst: self, proto: "udp", port: 514}, "reject with icmpv6 port-unreachable"},
	} {
		if got := judge(rules, tc.chain, tc.p); got != tc.want {
			t.Errorf("%s: %q, want %q", what, got, tc.want)
		}
	}
	none := Rules6(wanted(t)["plain"])
	for _, p := range []packet{{in: onBridge, out: outside, src: link, dst: world}, {in: outside, out: onBridge, src: world, dst: app}} {
		if got := judge(none, chainForward, p); got != "drop" {
			t.Errorf("no network has IPv6, %+v: %q", p, got)
		}
	}
}

func TestNATFor(t *testing.T) {
	s := bridge(t, Config{})
	n := s.NATFor("m", nil, []Forward{forward(t, "90:80", "172.16.0.2"), forward(t, "80:80", "172.16.0.3")})
	if n.MAC != "m" || n.Networks[0].Gateway.String() != "172.16.0.1/16" || n.Ports[0].HostPort != 80 {
		t.Errorf("%+v", n)
	}
}

func TestPortsText(t *testing.T) {
	for in, want := range map[string]string{
		"80": "80/tcp", "80/udp": "80/udp", "8080:80/tcp": "8080:80/tcp", "0.0.0.0:8080:80/TCP": "0.0.0.0:8080:80/tcp", "192.0.2.1:8080:80": "192.0.2.1:8080:80/tcp",
		"192.0.2.1::80": "192.0.2.1::80/tcp", "x": "", "0": "", "80/sctp": "", "[::]:80:80": "[::]:80:80/tcp", "[FD00::1]::80/udp": "[fd00::1]::80/udp", "[fd00::1]:80": "[fd00::1]::80/tcp",
		"fd00::1:80": "", "[fd00::1]": "", "[fd00::1]80": "", "[192.0.2.1]:80:80": "", "[::ffff:192.0.2.1]:80:80": "", "[fe80::1%eth0]:80:80": "", "[::1]:1:2:3": "", "[]:80:80": "", "70000:80": "", "a:1:2:3": "", ":80": "80/tcp",
	} {
		p, err := ParsePort(in)
		if want == "" {
			if err == nil {
				t.Errorf("%q: %v is accepted", in, p)
			}
			continue
		}
		if err != nil || p.String() != want {
			t.Errorf("%q: %q, %v; want %q", in, p, err, want)
		}
	}
}

func FuzzParsePort(f *testing.F) {
	f.Add("192.0.2.1:8080:80/tcp")
	f.Add("80")
	f.Add("[fd00::1]::80/udp")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePort(s)
		if err != nil {
			return
		}
		if q, err := ParsePort(p.String()); err != nil || q != p {
			t.Errorf("%q: %+v, written and read again %+v, %v", s, p, q, err)
		}
	})
}

func TestRandomPorts(t *testing.T) {
	s := bridge(t, Config{})
	got, err := choosePorts(s, "a", []string{"80", "81/udp", "9000:82", "192.0.2.1::83"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint16]bool{}
	for _, text := range got {
		p, _ := ParsePort(text)
		if p.HostPort != 9000 && (p.HostPort < firstRandom || p.HostPort > lastRandom) || seen[p.HostPort] {
			t.Errorf("%q", got)
		}
		seen[p.HostPort] = true
	}
	for _, text := range []string{"8080:80", "2376:1", "22:22/tcp", "53:53/udp", "80:x"} {
		if _, err := choosePorts(s, "a", []string{text}); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
	if _, err := choosePorts(s, "a", []string{"8080:80/udp"}); err != nil {
		t.Error(err)
	}
	// One is left.
	var all []Publication
	for n := firstRandom; n <= lastRandom; n++ {
		if n != 40000 {
			all = append(all, Publication{HostPort: uint16(n), Port: 1, Proto: "tcp"})
		}
	}
	if n, err := randomPort(Publication{Port: 80, Proto: "tcp"}, all); err != nil || n != 40000 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := randomPort(Publication{Port: 80, Proto: "tcp"}, append(all, Publication{HostPort: 40000, Proto: "tcp"})); err == nil {
		t.Error("more ports than there are")
	}
}

func TestConflict(t *testing.T) {
	parse := func(texts ...string) (out []Publication) {
		for _, s := range texts {
			p, err := ParsePort(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, p)
		}
		return out
	}
	err := Conflict(parse("81:80", "80:80"), parse("80:1"), "web", "0123")
	if err == nil || err.Error() != "driver failed programming external connectivity on endpoint web (0123): Bind for 0.0.0.0:80 failed: port is already allocated" {
		t.Error(err)
	}
	for _, other := range []string{"80:80/udp", "81:80"} {
		if err := Conflict(parse("80:80"), parse(other), "web", "0"); err != nil {
			t.Errorf("%s: %v", other, err)
		}
	}
	for _, no := range [][2]string{{"192.0.2.1:80:80", "192.0.2.2:80:80"}, {"0.0.0.0:80:80", "[::]:80:80"}, {"[fd00::1]:80:80", "0.0.0.0:80:80"}, {"[::]:80:80", "192.0.2.1:80:80"}} {
		if err := Conflict(parse(no[0]), parse(no[1]), "web", "0"); err != nil {
			t.Error(err)
		}
	}
	for _, yes := range [][2]string{{"[::]:80:80", "80:80"}, {"80:80", "0.0.0.0:80:80"}, {"[fd00::1]:80:80", "[::]:80:80"}, {"0.0.0.0:80:80", "192.0.2.1:80:80"}} {
		if Conflict(parse(yes[0]), parse(yes[1]), "web", "0") == nil {
			t.Errorf("%v at once", yes)
		}
	}
	if err := Conflict(parse("192.0.2.1:80:80"), parse("80:80"), "web", "0"); err == nil || !strings.Contains(err.Error(), "192.0.2.1:80") {
		t.Error(err)
	}
}

func TestPortList(t *testing.T) {
	got := PortList([]Forward{forward(t, "80:1", "10.0.0.1"), forward(t, "53:1/udp", "10.0.0.1"), forward(t, "192.0.2.1:80:1", "10.0.0.2")})
	if !slices.Equal(got, []string{"53/udp", "80/tcp"}) {
		t.Errorf("%q", got)
	}
	if got := PortList(nil); got == nil {
		t.Error("no ports are null in JSON")
	}
}
