package system

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolvConf(t *testing.T) {
	for _, c := range []struct {
		servers, search, options []string
		want                     string
	}{
		{nil, nil, nil, ""},
		{[]string{"10.0.0.1", "10.0.0.2"}, []string{"a.b", "c"}, []string{"ndots:0", "timeout:1"},
			"nameserver 10.0.0.1\nnameserver 10.0.0.2\nsearch a.b c\noptions ndots:0 timeout:1\n"},
		{nil, []string{"a"}, nil, "search a\n"},
	} {
		if got := ResolvConf(c.servers, c.search, c.options); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestHosts(t *testing.T) {
	const local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n" +
		"ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
	for name, c := range map[string]struct {
		in   HostsConfig
		want string
	}{
		"nothing": {HostsConfig{Hostname: "box"}, ""},
		"address": {HostsConfig{Hostname: "box", Addresses: []string{"172.16.0.2/16", "10.0.0.1"}}, "172.16.0.2\tbox\n10.0.0.1\tbox\n"},
		"domain":  {HostsConfig{Hostname: "box", Domainname: "a.org", Addresses: []string{"172.16.0.2/16"}}, "172.16.0.2\tbox.a.org box\n"},
		"extra": {HostsConfig{Extra: []string{"db:10.0.0.9", "six:2001:db8::1", "six2:[2001:db8::2]", "gw:host-gateway", "bad", "worse:x\n1.2.3.4"},
			Gateway: "172.16.0.1"}, "10.0.0.9\tdb\n2001:db8::1\tsix\n2001:db8::2\tsix2\n172.16.0.1\tgw\n"},
		"no gateway": {HostsConfig{Extra: []string{"gw:host-gateway"}}, ""},
	} {
		if d := cmp.Diff(local+c.want, Hosts(c.in)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for in, want := range map[string]string{
		"net.ipv4.ip_forward":               "net/ipv4/ip_forward",
		"net.ipv4.conf.eth0/100.forwarding": "net/ipv4/conf/eth0.100/forwarding",
		"":                                  "",
		"net..x":                            "",
		"net.//.x":                          "",
		"a.\x00":                            "",
		".":                                 "",
	} {
		got, err := sysctlPath(in)
		if got != want && err == nil || (err != nil) != (want == "") {
			t.Errorf("%q: got %q %v, want %q", in, got, err, want)
		}
	}
}

func FuzzSysctlPath(f *testing.F) {
	f.Add("net.ipv4.conf.eth0/100.forwarding")
	f.Fuzz(func(t *testing.T, name string) {
		p, err := sysctlPath(name)
		if err != nil {
			return
		}
		if c := filepath.Join("/proc/sys", p); c != "/proc/sys/"+p || strings.Contains(p, "..") && filepath.Clean(p) != p {
			t.Errorf("%q leads to %q", name, c)
		}
	})
}

func TestLoadList(t *testing.T) {
	list, err := ParseLoadList("a.ko now -\nb.ko late pci:v1\nc.ko now pci:v2 x=1 y=2\nd.ko demand:x,y -\ne.ko demand:y -\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Module{{File: "a.ko", Phases: []Phase{Now}}, {File: "b.ko", Phases: []Phase{Late}, Device: "pci:v1"},
		{File: "c.ko", Phases: []Phase{Now}, Device: "pci:v2", Options: "x=1 y=2"},
		{File: "d.ko", Phases: []Phase{"x", "y"}}, {File: "e.ko", Phases: []Phase{"y"}}}
	if d := cmp.Diff(want, list); d != "" {
		t.Error(d)
	}
	for _, c := range []struct {
		phase   Phase
		devices []string
		want    string
	}{
		{Now, nil, "a.ko"},
		{Now, []string{"pci:v2d3"}, "a.ko c.ko"},
		{Late, []string{"pci:v2d3"}, ""},
		{Late, []string{"pci:v1d3"}, "b.ko"},
		{"x", []string{"pci:v1d3"}, "d.ko"},
		{"y", nil, "d.ko e.ko"},
		{"z", nil, ""},
	} {
		var got []string
		for _, m := range Wanted(list, c.phase, c.devices) {
			got = append(got, m.File)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s, %v: %s, want %s", c.phase, c.devices, s, c.want)
		}
	}
	for _, bad := range []string{"", "a.ko\n", "a.ko now\n", "a.ko later -\n", "../a.ko now -\n", "a.ko now -\n\n",
		"a.ko demand: -\n", "a.ko demand:x, -\n", "a.ko demand:now -\n", "a.ko demand -\n"} {
		if _, err := ParseLoadList(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func FuzzParseLoadList(f *testing.F) {
	f.Add("a.ko now -\nb.ko late pci:v1\nc.ko demand:x,y pci:v2 x=1 y=2\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseLoadList(text)
		if err != nil {
			return
		}
		for _, m := range list {
			if len(m.Phases) == 0 || strings.Contains(m.File, "/") {
				t.Errorf("%q: %+v", text, m)
			}
		}
	})
}

// TestLoadListsOfTheImages holds the reader to what package isos writes.
func TestLoadListsOfTheImages(t *testing.T) {
	for _, image := range []string{"bootstrap", "appliance"} {
		text, err := os.ReadFile("../../isos/testdata/" + image + ".load")
		if err != nil {
			t.Fatal(err)
		}
		list, err := ParseLoadList(string(text))
		if err != nil || len(list) < 10 {
			t.Errorf("%s: %d modules, %v", image, len(list), err)
		}
		if n := len(Wanted(list, Filtering, nil)); image == "bootstrap" && n == 0 {
			t.Error("no modules for the filter")
		}
	}
}
