package engine

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// networkInput has the default bridge, two networks with chosen subnets, one
// internal, one without, and the container "db" on the default bridge.
func networkInput() buildInput {
	in := testInput()
	id := func(c string) string { return strings.Repeat(c, 64) }
	in.Networks = []spec.Network{
		{ID: id("b"), Name: "bridge", Driver: "bridge", Subnet: "172.16.0.0/16", Builtin: true},
		{ID: id("a"), Name: "front", Driver: "bridge", Subnet: "10.1.0.0/24", IPRange: "10.1.0.128/25", Chosen: true},
		{ID: id("c"), Name: "back", Driver: "bridge", Subnet: "10.2.0.0/24", Chosen: true, Internal: true},
		{ID: id("d"), Name: "auto", Driver: "bridge", Subnet: "172.17.0.0/16"},
		{ID: id("e"), Name: "six", Driver: "bridge", Subnet: "10.3.0.0/24", IPv6: true, Subnet6: "fd00:6::/64", IPRange6: "fd00:6::/112", Chosen6: true},
	}
	in.Find = func(ref string) (spec.View, error) {
		if ref == "db" || ref == "dbid" {
			return spec.View{Container: spec.Container{ID: id("9"), Name: "db", Hostname: "999999999999",
				Endpoints: []spec.Endpoint{{Network: "bridge", NetworkID: id("b"), IP: "172.16.0.9/16"}}}}, nil
		}
		if ref == "far" {
			return spec.View{Container: spec.Container{Name: "far", Endpoints: []spec.Endpoint{{Network: "auto", NetworkID: id("d"), IP: "172.17.0.9/16"}}}}, nil
		}
		return spec.View{}, noSuchContainer(ref)
	}
	in.PortsInUse = func() map[string]bool { return map[string]bool{"8000/tcp": true, "8001/udp": true} }
	return in
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"default", `"HostConfig":{}`, "bridge"},
		{"default by word", `"HostConfig":{"NetworkMode":"default"}`, "bridge"},
		{"none", `"HostConfig":{"NetworkMode":"none","PortBindings":{"80/tcp":[{"HostPort":"80"}]}}`, ""},
		{"by name", `"HostConfig":{"NetworkMode":"front"}`, "front"},
		{"by short id", `"HostConfig":{"NetworkMode":"aaaaaaaaaaaa"}`, "front"},
		{"endpoints only", `"NetworkingConfig":{"EndpointsConfig":{"front":{}}}`, "front"},
		{"default by its word in both", `"HostConfig":{"NetworkMode":"default"},"NetworkingConfig":{"EndpointsConfig":{"default":{}}}`, "bridge"},
		{"several: the mode first, internal last", `"HostConfig":{"NetworkMode":"front"},"NetworkingConfig":{"EndpointsConfig":{"auto":{},"back":{},"front":{}}}`, "front; auto; back"},
		{"several: by priority", `"HostConfig":{"NetworkMode":"front"},"NetworkingConfig":{"EndpointsConfig":{"auto":{"GwPriority":7},"front":{}}}`, "auto; front"},
		{"aliases", `"HostConfig":{"NetworkMode":"auto"},"NetworkingConfig":{"EndpointsConfig":{"auto":{"Aliases":["web","www","web"]}}}`, "auto aliases web,www"},
		{"address", `"HostConfig":{"NetworkMode":"front"},"NetworkingConfig":{"EndpointsConfig":{"front":{"IPAMConfig":{"IPv4Address":"10.1.0.200"}}}}`, "front static 10.1.0.200"},
		{"IPv6 address", `"HostConfig":{"NetworkMode":"six"},"NetworkingConfig":{"EndpointsConfig":{"six":{"IPAMConfig":{"IPv6Address":"FD00:6::9"}}}}`, "six static6 fd00:6::9"},
		{"ports of one kind of address", `"HostConfig":{"NetworkMode":"six","PortBindings":{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"80"},{"HostIp":"[::]","HostPort":"80"},{"HostIp":"fd00::1"}]}}`,
			"six ports [fd00::1]::80/tcp,0.0.0.0:80:80/tcp,[::]:80:80/tcp"},
		{"MAC address for all", `"NetworkingConfig":{"EndpointsConfig":{"front":{"MacAddress":"00:50:56:0A:00:01"},"auto":{}}}`, "auto mac 00:50:56:0a:00:01; front mac 00:50:56:0a:00:01"},
		{"link on a network", `"HostConfig":{"NetworkMode":"front","Links":["dbid:store","other"]}`, "front links db:store,other:other"},
		{"link of an endpoint", `"HostConfig":{"NetworkMode":"front"},"NetworkingConfig":{"EndpointsConfig":{"front":{"Links":["/db:/web/store"]}}}`, "front links db:store"},
		{"legacy link", `"HostConfig":{"Links":["db:store"]}`, "bridge hosts store:172.16.0.9,999999999999:172.16.0.9,db:172.16.0.9"},
		{"ports", `"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8080"},{"HostIp":"0.0.0.0","HostPort":"8080"}],"53/udp":[{"HostIp":"192.0.2.1","HostPort":""}],"22":[{}],"23/tcp":[]}}`,
			"bridge ports 22/tcp,192.0.2.1::53/udp,8080:80/tcp"},
		{"a range of host ports", `"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8000-8002"}],"80/udp":[{"HostPort":"8000-8002"}]}}`, "bridge ports 8001:80/tcp,8000:80/udp"},
		{"all exposed", `"ExposedPorts":{"80":{},"53/udp":{},"7000-7001/tcp":{}},"HostConfig":{"PublishAllPorts":true,"PortBindings":{"80/tcp":[{"HostPort":"80"}]}}`,
			"bridge ports 53/udp,80:80/tcp,7000/tcp,7001/tcp"},
		{"an internal network is never first", `"HostConfig":{"NetworkMode":"back","PortBindings":{"80/tcp":[{"HostPort":"80"}]}},"NetworkingConfig":{"EndpointsConfig":{"back":{"GwPriority":9},"auto":{}}}`,
			"auto ports 80:80/tcp; back"},
		{"ports go out by the first network with a way out", `"HostConfig":{"NetworkMode":"back","PortBindings":{"80/tcp":[{"HostPort":"80"}]}},"NetworkingConfig":{"EndpointsConfig":{"auto":{},"back":{}}}`,
			"auto ports 80:80/tcp; back"},
	} {
		r := parse(t, `{"Cmd":["x"],`+c.body+`}`)
		eps, hosts, warnings, err := endpoints(r, networkInput())
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, warnings %q", c.name, err, warnings)
			continue
		}
		var got []string
		for _, ep := range eps {
			s := ep.Network
			if ep.Static {
				s += " static " + ep.IP
			}
			if ep.Static6 {
				s += " static6 " + ep.IP6
			}
			if ep.MAC != "" {
				s += " mac " + ep.MAC
			}
			for what, list := range map[string][]string{"aliases": ep.Aliases, "links": ep.Links, "ports": ep.Ports} {
				if len(list) > 0 {
					s += " " + what + " " + strings.Join(list, ",")
				}
			}
			got = append(got, s)
		}
		text := strings.Join(got, "; ")
		if len(hosts) > 0 {
			text += " hosts " + strings.Join(hosts, ",")
		}
		if d := cmp.Diff(c.want, text); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

func TestEndpointRefusals(t *testing.T) {
	on := func(network, settings string) string {
		return fmt.Sprintf(`"HostConfig":{"NetworkMode":%q},"NetworkingConfig":{"EndpointsConfig":{%q:%s}}`, network, network, settings)
	}
	ports := func(s string) string { return `"HostConfig":{"PortBindings":{` + s + `}}` }
	for _, c := range []struct {
		body, want string
		is         func(error) bool
	}{
		{on("front", `{"IPAMConfig":{"IPv4Address":"10.1.0.7"}}`), "no configured subnet or ip-range contain the IP address 10.1.0.7", errdefs.IsInvalidArgument},
		{on("front", `{"IPAMConfig":{"IPv4Address":"0.0.0.0"}}`), "invalid IPv4 address: 0.0.0.0", errdefs.IsInvalidArgument},
		{on("auto", `{"IPAMConfig":{"IPv4Address":"172.17.0.7"}}`), "user specified IP address is supported only when connecting to networks with user configured subnets", errdefs.IsInvalidArgument},
		{on("bridge", `{"IPAMConfig":{"IPv4Address":"172.16.0.7"}}`), "user specified IP address is supported on user defined networks only", errdefs.IsInvalidArgument},
		{on("front", `{"IPAMConfig":{"IPv6Address":"fd00::2"}}`), "network front has no IPv6 for address fd00::2: make it with --ipv6", errdefs.IsInvalidArgument},
		{on("six", `{"IPAMConfig":{"IPv6Address":"10.3.0.2"}}`), "invalid IPv6 address: 10.3.0.2", errdefs.IsInvalidArgument},
		{on("six", `{"IPAMConfig":{"IPv6Address":"::ffff:10.3.0.2"}}`), "invalid IPv6 address: ::ffff:10.3.0.2", errdefs.IsInvalidArgument},
		{on("six", `{"IPAMConfig":{"IPv6Address":"fd00:6::1:2"}}`), "no configured subnet or ip-range contain the IP address fd00:6::1:2", errdefs.IsInvalidArgument},
		{on("six", `{"IPAMConfig":{"IPv4Address":"10.3.0.2"}}`), "only when connecting to networks with user configured subnets", errdefs.IsInvalidArgument},
		{on("bridge", `{"IPAMConfig":{"IPv6Address":"fd00::2"}}`), "user specified IP address is supported on user defined networks only", errdefs.IsInvalidArgument},
		{on("front", `{"IPAMConfig":{"LinkLocalIPs":["169.254.1.1"]}}`), "--link-local-ip", errdefs.IsNotImplemented},
		{on("front", `{"MacAddress":"02:42:ac:11:00:02"}`), "vSphere allows those from 00:50:56:00:00:00", errdefs.IsNotImplemented},
		{on("front", `{"MacAddress":"no"}`), "invalid MAC address: no", errdefs.IsInvalidArgument},
		{`"MacAddress":"00:50:56:00:00:01",` + on("front", `{"MacAddress":"00:50:56:00:00:02"}`), "conflicting MAC addresses", errdefs.IsInvalidArgument},
		{on("front", `{"DriverOpts":{"a":"b"}}`), "network driver options", errdefs.IsNotImplemented},
		{on("front", `{"Aliases":["a b"]}`), `invalid network alias: "a b"`, errdefs.IsInvalidArgument},
		{on("front", `{"Links":[":"]}`), "bad format for links: :", errdefs.IsInvalidArgument},
		{on("front", `{"Aliases":"x"}`), "invalid JSON: endpoint front", errdefs.IsInvalidArgument},
		{on("bridge", `{"Aliases":["a"]}`), "network-scoped aliases are only supported for user-defined networks", errdefs.IsInvalidArgument},
		{`"HostConfig":{"NetworkMode":"none"},"NetworkingConfig":{"EndpointsConfig":{"front":{}}}`, "private (none) mode", errdefs.IsInvalidArgument},
		{`"NetworkingConfig":{"EndpointsConfig":{"front":{},"aaaaaaaaaaaa":{}}}`, "network front is named twice", errdefs.IsInvalidArgument},
		{`"NetworkingConfig":{"EndpointsConfig":{"host":{}}}`, "host networking", errdefs.IsNotImplemented},
		{`"NetworkingConfig":{"EndpointsConfig":{"nope":{}}}`, "network nope not found", errdefs.IsInvalidArgument},
		{`"HostConfig":{"Links":["nope"]}`, "could not get container for nope: No such container: nope", errdefs.IsInvalidArgument},
		{`"HostConfig":{"Links":["far:x"]}`, "Cannot link to /far, as it does not belong to the default network", errdefs.IsInvalidArgument},
		{ports(`"80/sctp":[{}]`), "SCTP", errdefs.IsNotImplemented},
		{ports(`"80/icmp":[{}]`), "invalid proto: icmp", errdefs.IsInvalidArgument},
		{ports(`"0/tcp":[{}]`), `invalid port specification: "0"`, errdefs.IsInvalidArgument},
		{ports(`"80-81/tcp":[{}]`), `invalid port specification: "80-81"`, errdefs.IsInvalidArgument},
		{ports(`"80/tcp":[{"HostPort":"99999"}]`), `invalid port specification: "99999"`, errdefs.IsInvalidArgument},
		{ports(`"80/tcp":[{"HostPort":"9-8"}]`), `invalid port specification: "9-8"`, errdefs.IsInvalidArgument},
		{ports(`"80/tcp":[{"HostIp":"here"}]`), "invalid IP address: here", errdefs.IsInvalidArgument},
		{ports(`"80/tcp":[{"HostIp":"fe80::1%eth0"}]`), "invalid IP address: fe80::1%eth0", errdefs.IsInvalidArgument},
		{ports(`"80/tcp":[{"HostIp":"::ffff:192.0.2.1"}]`), "invalid IP address: ::ffff:192.0.2.1", errdefs.IsInvalidArgument},
		{ports(`"80/tcp":[{"HostIp":"::","HostPort":"80"}],"81/tcp":[{"HostIp":"fd00::1","HostPort":"80"}]`), "Bind for", errdefs.IsConflict},
		{ports(`"80/tcp":[{"HostPort":"80"}],"81/tcp":[{"HostPort":"80"}]`), "Bind for 0.0.0.0:80 failed: port is already allocated", errdefs.IsConflict},
	} {
		_, _, _, err := endpoints(parse(t, `{"Cmd":["x"],`+c.body+`}`), networkInput())
		if err == nil || !strings.Contains(err.Error(), c.want) || !c.is(err) {
			t.Errorf("%s: %v, want %q", c.body, err, c.want)
		}
	}
}

func TestPortWarnings(t *testing.T) {
	for body, want := range map[string]string{
		`"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":"80"}]}}`:                "port 80/tcp is published on 127.0.0.1 of the VCH itself",
		`"HostConfig":{"NetworkMode":"front","PortBindings":{"80/tcp":[{"HostIp":"::","HostPort":"80"}]}}`: "port 80/tcp is published on ::, which has no effect while the container is on no network with IPv6",
		`"HostConfig":{"NetworkMode":"back","PortBindings":{"80/tcp":[{"HostPort":"80"}]}}`:                "internal networks only",
	} {
		_, _, warnings, err := endpoints(parse(t, `{"Cmd":["x"],`+body+`}`), networkInput())
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], want) {
			t.Errorf("%s: %v, %q", body, err, warnings)
		}
	}
}

func FuzzPublishedPort(f *testing.F) {
	for _, s := range []string{"80/tcp", "8080:80/tcp", "192.0.2.1::53/udp", "1.2.3.4:5:6/tcp", ":::", "[fd00::1]:5:6", "[::]::6/udp", "0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePublishedPort(s)
		if err != nil {
			return
		}
		again, err := ParsePublishedPort(p.String())
		if err != nil || again != p {
			t.Fatalf("%q is %+v, written %q and read %+v, %v", s, p, p.String(), again, err)
		}
	})
}

// FuzzEndpoints: no request for networks and ports may crash the engine.
func FuzzEndpoints(f *testing.F) {
	f.Add(`{"NetworkMode":"front","PortBindings":{"80/tcp":[{"HostPort":"8000-8002"}]},"Links":["db"]}`, `{"front":{"Aliases":["a"]}}`)
	f.Add(`{"PublishAllPorts":true}`, `{"bridge":null,"":{}}`)
	f.Fuzz(func(t *testing.T, host, nets string) {
		if !json.Valid([]byte(host)) || !json.Valid([]byte(nets)) {
			return
		}
		r, err := ParseRequest([]byte(`{"Cmd":["x"],"ExposedPorts":{"80":{}},"HostConfig":` + host + `,"NetworkingConfig":{"EndpointsConfig":` + nets + `}}`))
		if err != nil {
			return
		}
		eps, _, _, err := endpoints(r, networkInput())
		if err != nil {
			return
		}
		for _, ep := range eps {
			if ep.NetworkID == "" {
				t.Fatalf("%s %s: endpoint without a network", host, nets)
			}
		}
	})
}
