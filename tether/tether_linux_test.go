package tether

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
)

// TestSteps holds the boot's order: the list is what an administrator sees on
// the console, and what a change of order must be seen in.
func TestSteps(t *testing.T) {
	const early = "kernel filesystems, kernel modules, guest RPC, kind of VM, reaper"
	for kind, want := range map[string]string{
		"": early,
		guestinfo.KindContainer: early + ", configuration, control line, hostname, network, disks, control group, root, volumes, addresses, " +
			"devices, host files, kernel parameters, system paths, tools, shares, process",
		guestinfo.KindAppliance: early + ", configuration, hostname, networks, tools, scratch disk, seal key, guest RPC for others, " +
			"late modules, forwarding, debugging, addresses, secrets, engine",
	} {
		if d := cmp.Diff(want, strings.Join(Steps(kind), ", ")); d != "" {
			t.Errorf("%q (-want +got):\n%s", kind, d)
		}
	}
}

func TestRoleConfigs(t *testing.T) {
	one, two, three := "00:50:56:00:00:01", "00:50:56:00:00:02", "00:50:56:00:00:03"
	for name, c := range map[string]struct {
		in   map[string]spec.VCHNetwork
		want []nicConfig
	}{
		"as installed by default": {
			map[string]spec.VCHNetwork{"bridge": {MAC: two}, "management": {MAC: one}, "external": {MAC: one}, "client": {MAC: one}},
			[]nicConfig{{Names: []string{"external", "client", "management"}, MAC: one, DHCP: true}, {Names: []string{"bridge"}, MAC: two, Metric: 100}},
		},
		"all static and apart": {
			map[string]spec.VCHNetwork{
				"bridge":     {MAC: two, IP: "172.16.0.1/16"},
				"external":   {MAC: one, IP: "10.0.0.2/24", Gateway: "10.0.0.1", DNS: []string{"9.9.9.9"}},
				"management": {MAC: three},
			},
			[]nicConfig{
				{Names: []string{"external"}, MAC: one, IP: "10.0.0.2/24", Gateway: "10.0.0.1", DNS: []string{"9.9.9.9"}},
				{Names: []string{"management"}, MAC: three, DHCP: true, Metric: 100},
				{Names: []string{"bridge"}, MAC: two, IP: "172.16.0.1/16", Metric: 200},
			},
		},
		"a static role on a shared NIC wins": {
			map[string]spec.VCHNetwork{"external": {MAC: one}, "client": {MAC: one, IP: "10.0.0.2/24"}},
			[]nicConfig{{Names: []string{"external", "client"}, MAC: one, IP: "10.0.0.2/24"}},
		},
		"unknown roles come last, by name": {
			map[string]spec.VCHNetwork{"z": {MAC: three}, "a": {MAC: two}, "bridge": {MAC: one}},
			[]nicConfig{{Names: []string{"bridge"}, MAC: one}, {Names: []string{"a"}, MAC: two, DHCP: true, Metric: 100},
				{Names: []string{"z"}, MAC: three, DHCP: true, Metric: 200}},
		},
		"none": {nil, nil},
	} {
		if d := cmp.Diff(c.want, roleConfigs(c.in)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestEndpointConfigs(t *testing.T) {
	for name, c := range map[string]struct {
		in      []spec.Endpoint
		want    []nicConfig
		gateway string // of the first
	}{
		"two cards": {[]spec.Endpoint{{Network: "bridge", MAC: "a", IP: "172.16.0.2/16", Gateway: "172.16.0.1"}, {Network: "ext", MAC: "b"}},
			[]nicConfig{{MAC: "a", Link: "eth0", Places: []place{{Network: "bridge", IP: "172.16.0.2/16", Gateway: "172.16.0.1"}}},
				{Names: []string{"ext"}, MAC: "b", Link: "eth1", DHCP: true, Metric: 100}}, "172.16.0.1"},
		"two networks of one card": {[]spec.Endpoint{{Network: "one", MAC: "A", IP: "172.17.0.2/16", Gateway: "172.17.0.1"},
			{Network: "bridge", MAC: "a", IP: "172.16.0.2/16", Gateway: "172.16.0.1"}},
			[]nicConfig{{MAC: "A", Link: "eth0", Places: []place{{Network: "one", IP: "172.17.0.2/16", Gateway: "172.17.0.1"}, {Network: "bridge", IP: "172.16.0.2/16", Gateway: "172.16.0.1"}}}}, "172.17.0.1"},
		"internal first": {[]spec.Endpoint{{Network: "inner", MAC: "a", IP: "172.17.0.2/16"}, {Network: "bridge", MAC: "a", IP: "172.16.0.2/16", Gateway: "172.16.0.1"}},
			[]nicConfig{{MAC: "a", Link: "eth0", Places: []place{{Network: "inner", IP: "172.17.0.2/16"}, {Network: "bridge", IP: "172.16.0.2/16", Gateway: "172.16.0.1"}}}}, "172.16.0.1"},
		"internal": {[]spec.Endpoint{{Network: "inner", MAC: "a", IP: "172.17.0.2/16"}},
			[]nicConfig{{MAC: "a", Link: "eth0", Places: []place{{Network: "inner", IP: "172.17.0.2/16"}}}}, ""},
		"container networks": {[]spec.Endpoint{
			{Network: "dhcp", MAC: "b", Trust: spec.TrustPublished, Ports: []string{"80/tcp"}},
			{Network: "static", MAC: "c", IP: "10.9.0.5/16", Gateway: "10.9.0.1", Trust: spec.TrustPeers, Peers: []string{"10.9.1.0/24"}},
			{Network: "bridge", MAC: "a", IP: "172.16.0.2/16", Gateway: "172.16.0.1", Ports: []string{"8000:80/tcp"}}},
			[]nicConfig{
				{Names: []string{"dhcp"}, MAC: "b", Link: "eth0", DHCP: true, Trust: spec.TrustPublished, Ports: []string{"80/tcp"}},
				{MAC: "c", Link: "eth1", Metric: 100, Places: []place{{Network: "static", IP: "10.9.0.5/16", Gateway: "10.9.0.1"}}, Trust: spec.TrustPeers, Peers: []string{"10.9.1.0/24"}},
				{MAC: "a", Link: "eth2", Metric: 200, Places: []place{{Network: "bridge", IP: "172.16.0.2/16", Gateway: "172.16.0.1"}}},
			}, ""},
		"IPv6 of the second": {[]spec.Endpoint{{Network: "one", MAC: "a", IP: "172.17.0.2/16"},
			{Network: "six", MAC: "a", IP: "172.18.0.2/16", IP6: "fd00::2/64", Gateway: "172.18.0.1", Gateway6: "fd00::1"}},
			[]nicConfig{{MAC: "a", Link: "eth0", Places: []place{{Network: "one", IP: "172.17.0.2/16"},
				{Network: "six", IP: "172.18.0.2/16", Gateway: "172.18.0.1", IP6: "fd00::2/64", Gateway6: "fd00::1"}}}}, "172.18.0.1"},
		"none": {nil, nil, ""},
	} {
		got, err := endpointConfigs(c.in)
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, d)
		}
		if len(got) > 0 && got[0].gateway() != c.gateway {
			t.Errorf("%s: default route through %q", name, got[0].gateway())
		}
	}
	for _, bad := range [][]spec.Endpoint{
		{{Network: "x", MAC: "a", IP: "172.17.0.2/16"}, {Network: "y", MAC: "a"}},
		{{Network: "x", MAC: "a"}, {Network: "y", MAC: "a", IP: "172.17.0.2/16"}},
	} {
		if _, err := endpointConfigs(bad); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "network y") {
			t.Errorf("a lease on a shared card: %v", err)
		}
	}
	for want, bad := range map[string]spec.Endpoint{
		`trust level "shut"`: {Network: "y", MAC: "b", IP: "10.9.0.5/16", Trust: "shut"},
		`port "80"`:          {Network: "y", MAC: "b", IP: "10.9.0.5/16", Trust: spec.TrustPublished, Ports: []string{"80"}},
		`"all"`:              {Network: "y", MAC: "b", IP: "10.9.0.5/16", Trust: spec.TrustPeers, Peers: []string{"all"}},
		"shares its card":    {Network: "y", MAC: "a", IP: "10.9.0.5/16", Trust: spec.TrustOpen},
	} {
		list := []spec.Endpoint{{Network: "x", MAC: "a", IP: "172.17.0.2/16"}, bad}
		if _, err := endpointConfigs(list); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "network y") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzEndpointConfigs(f *testing.F) {
	f.Add("a", "172.17.0.2/16", "172.17.0.1", "A", "172.18.0.2/16", "")
	f.Add("a", "", "", "a", "", "")
	f.Fuzz(func(t *testing.T, mac1, ip1, gw1, mac2, ip2, gw2 string) {
		in := []spec.Endpoint{{Network: "1", MAC: mac1, IP: ip1, Gateway: gw1}, {Network: "2", MAC: mac2, IP: ip2, Gateway: gw2}}
		list, err := endpointConfigs(in)
		if err != nil {
			return
		}
		n := 0
		for _, c := range list {
			if n += len(c.Places); c.DHCP {
				n++
			}
			if c.DHCP && len(c.Places) > 0 || c.name() == "" {
				t.Errorf("%+v", c)
			}
		}
		if n != len(in) {
			t.Errorf("%d of %d endpoints are on cards: %+v", n, len(in), list)
		}
	})
}

func TestTmpfsOptions(t *testing.T) {
	const usual = unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV
	for in, want := range map[string]struct {
		flags uintptr
		data  string
	}{
		"":                       {usual, ""},
		"size=64m,mode=1777":     {usual, "size=64m,mode=1777"},
		"rw,noexec,exec,size=1k": {usual &^ unix.MS_NOEXEC, "size=1k"},
		"suid,dev,exec,ro":       {unix.MS_RDONLY, ""},
	} {
		if flags, data := tmpfsOptions(in); flags != want.flags || data != want.data {
			t.Errorf("%q: %#x %q, want %#x %q", in, flags, data, want.flags, want.data)
		}
	}
}

func TestBackoff(t *testing.T) {
	var last time.Duration
	for i, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, backoffMax, backoffMax} {
		if last = backoff(last, time.Second); last != want {
			t.Errorf("start %d: wait %v, want %v", i, last, want)
		}
	}
	if got := backoff(backoffMax, backoffReset); got != backoffMin {
		t.Errorf("after a long run: %v", got)
	}
}

func TestRotatedLog(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	for _, line := range []string{"12345\n", "67890\n", "abcde\n", "fghij\n", "a line longer than all\n", "z\n"} {
		l, err := openLog(name, 12) // a restart in between changes nothing
		if err != nil {
			t.Fatal(err)
		}
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("%q: %d %v", line, n, err)
		}
		l.f.Close()
	}
	for file, want := range map[string]string{name: "z\n", name + ".1": "a line longer than all\n"} {
		if b, err := os.ReadFile(file); string(b) != want || err != nil {
			t.Errorf("%s: %q %v", file, b, err)
		}
	}
}

func TestWriteSecret(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	for _, text := range []string{"one", "2"} {
		if err := writeSecret(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(name)
		if err != nil || st.Mode().Perm() != 0o600 || st.Size() != int64(len(text)) {
			t.Errorf("%v %v", st, err)
		}
	}
}

// What is on NFS, or below it, is mounted when the network is up.
func TestSplitMounts(t *testing.T) {
	mount := func(kind spec.MountType, path string) spec.Mount { return spec.Mount{Type: kind, Path: path} }
	now, later := splitMounts([]spec.Mount{
		mount(spec.MountVolume, "/a"), mount(spec.MountNFS, "/a/nfs"), mount(spec.MountTmpfs, "/a/nfs/tmp"), mount(spec.MountVolume, "/a/nfsx"),
		mount(spec.MountNFS, "/b/"), mount(spec.MountNFS, "/b/c"),
	})
	paths := func(list []spec.Mount) (out []string) {
		for _, m := range list {
			out = append(out, m.Path)
		}
		return out
	}
	if d := cmp.Diff([][]string{{"/a", "/a/nfsx"}, {"/a/nfs", "/a/nfs/tmp", "/b/", "/b/c"}}, [][]string{paths(now), paths(later)}); d != "" {
		t.Error(d)
	}
	if insideShare(later[0], later) || !insideShare(later[1], later) || insideShare(later[2], later) || !insideShare(later[3], later) {
		t.Error("what is inside of what")
	}
	if all, _ := splitMounts([]spec.Mount{mount(spec.MountVolume, "/x"), mount(spec.MountTmpfs, "/y")}); len(all) != 2 {
		t.Errorf("without NFS: %v", all)
	}
}
