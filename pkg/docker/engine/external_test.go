package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// externalInput has container networks besides those of networkInput: one of
// each trust level, that of "static" being open.
func externalInput() buildInput {
	in := networkInput()
	for i, l := range spec.TrustLevels() {
		n := spec.Network{ID: strings.Repeat(fmt.Sprint(i), 64), Name: string(l), Driver: spec.DriverExternal, PortGroup: "VM Network", Trust: l, Builtin: true}
		if l == spec.TrustOpen {
			n.Name, n.Subnet, n.Chosen = "static", "10.9.0.0/16", true
		}
		in.Networks = append(in.Networks, n)
	}
	return in
}

func TestExternalEndpoints(t *testing.T) {
	port := func(host string) string { return `"PortBindings":{"80/tcp":[{"HostPort":"` + host + `"}]}` }
	on := func(mode, host, more string) string {
		if host != "" {
			host = "," + host
		}
		return `"HostConfig":{"NetworkMode":"` + mode + `"` + host + `},"NetworkingConfig":{"EndpointsConfig":{` + more + `}}`
	}
	for _, c := range []struct{ name, body, want, warning string }{
		{"alone", on("published", "", ""), "published", ""},
		{"a port as it is", on("published", port("80"), ""), "published ports 80/tcp", ""},
		{"any port", on("static", port(""), ""), "static ports 80/tcp", ""},
		{"beside the bridge, which translates", on("published", port("8000"), `"published":{},"bridge":{}`), "published ports 80/tcp; bridge ports 8000:80/tcp", ""},
		{"the bridge publishes, closed does not", on("bridge", port("8000"), `"closed":{},"bridge":{}`), "bridge ports 8000:80/tcp; closed", ""},
		{"beside an internal network", on("back", port("80"), `"published":{},"back":{}`), "published ports 80/tcp; back ports 80:80/tcp", ""},
		{"peers", on("peers", port("80"), ""), "peers", "published ports have no effect"},
		{"address and MAC", on("static", "", `"static":{"IPAMConfig":{"IPv4Address":"10.9.1.1"},"MacAddress":"00:50:56:00:00:07"},"bridge":{}`), "static ip 10.9.1.1 mac 00:50:56:00:00:07; bridge", ""},
		{"aliases", on("static", "", `"static":{"Aliases":["web"]}`), "static", "aliases have no effect on network static"},
	} {
		eps, _, warnings, err := endpoints(parse(t, `{"Cmd":["x"],`+c.body+`}`), externalInput())
		if err != nil || c.warning == "" && len(warnings) > 0 || !strings.Contains(strings.Join(warnings, "; "), c.warning) {
			t.Errorf("%s: %v, warnings %q", c.name, err, warnings)
			continue
		}
		var got []string
		for _, ep := range eps {
			s := ep.Network
			if ep.IP != "" {
				s += " ip " + ep.IP
			}
			if ep.MAC != "" {
				s += " mac " + ep.MAC
			}
			if len(ep.Ports) > 0 {
				s += " ports " + strings.Join(ep.Ports, ",")
			}
			got = append(got, s)
		}
		if d := cmp.Diff(c.want, strings.Join(got, "; ")); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	for _, c := range []struct {
		body, want string
		is         func(error) bool
	}{
		{on("published", port("8000"), ""), "port 80/tcp cannot be published as 8000: network published is reached at the container's own ports: publish 80:80", errdefs.IsInvalidArgument},
		{on("published", `"PortBindings":{"80/tcp":[{"HostIp":"192.0.2.1","HostPort":"80"}]}`, ""), "leave the address out", errdefs.IsInvalidArgument},
		{on("closed", port("80"), ""), "the firewall of network closed (closed) lets nothing in", errdefs.IsInvalidArgument},
		{on("outbound", port("80"), ""), "network outbound (outbound)", errdefs.IsInvalidArgument},
		{on("published", "", `"published":{"IPAMConfig":{"IPv4Address":"10.9.1.1"}}`), "its addresses come from DHCP", errdefs.IsInvalidArgument},
		{on("static", "", `"static":{"IPAMConfig":{"IPv4Address":"10.8.1.1"}}`), "no configured subnet", errdefs.IsInvalidArgument},
		{on("static", "", `"static":{"Links":["db"]}`), "links on network static", errdefs.IsNotImplemented},
	} {
		if _, _, _, err := endpoints(parse(t, `{"Cmd":["x"],`+c.body+`}`), externalInput()); err == nil || !strings.Contains(err.Error(), c.want) || !c.is(err) {
			t.Errorf("%s: %v, want %q", c.body, err, c.want)
		}
	}
}

func TestAllPorts(t *testing.T) {
	i := Info{View: spec.View{Container: spec.Container{Endpoints: []spec.Endpoint{
		{Network: "bridge", Gateway: "172.16.0.1", IP: "172.16.0.2/16", Ports: []string{"8000:80/tcp"}},
		{Network: "dhcp", Trust: spec.TrustPublished, Ports: []string{"80/tcp"}},
		{Network: "static", Trust: spec.TrustOpen, IP: "10.9.0.5/16", Gateway: "10.9.0.1", Ports: []string{"53/udp"}},
	}}, Status: spec.Status{Addresses: map[string]string{"dhcp": "10.118.0.20/24"}}}}
	want := []PublishedPort{{HostPort: 8000, Port: 80, Proto: "tcp"}, {HostIP: "10.118.0.20", HostPort: 80, Port: 80, Proto: "tcp"}, {HostIP: "10.9.0.5", HostPort: 53, Port: 53, Proto: "udp"}}
	if d := cmp.Diff(want, i.AllPorts()); d != "" {
		t.Error(d)
	}
}
