package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"
)

func TestExternalNetworkInspect(t *testing.T) {
	n := spec.Network{ID: "n", Name: "direct", Driver: spec.DriverExternal, PortGroup: "VM Network", Trust: spec.TrustPublished, Builtin: true}
	c := spec.Container{ID: "c1", Name: "web", Endpoints: []spec.Endpoint{
		{Network: "direct", NetworkID: "n", MAC: "00:50:56:00:00:07", Trust: spec.TrustPublished, Ports: []string{"80/tcp"}},
	}}
	member := &engine.Info{View: spec.View{Container: c, Status: spec.Status{Addresses: map[string]string{"direct": "10.118.0.12/24"}}}}
	member.State.Running = true
	i := networkInspect(engine.NetworkInfo{Network: n, Members: []*engine.Info{member}}, true)
	if i.Driver != "external" || i.IPAM.Driver != "dhcp" || len(i.IPAM.Config) > 0 || !i.EnableIPv4 {
		t.Errorf("%+v", i)
	}
	if d := cmp.Diff(map[string]string{"vsphere.portgroup": "VM Network", "vsphere.firewall": "published"}, i.Options); d != "" {
		t.Error(d)
	}
	if r := i.Containers["c1"]; r.IPv4Address != "10.118.0.12/24" || r.MacAddress != "00:50:56:00:00:07" {
		t.Errorf("%+v", r)
	}
	p := portMap(*member)["80/tcp"]
	if len(p) != 1 || p[0].HostIP != "10.118.0.12" || p[0].HostPort != "80" {
		t.Errorf("%+v", p)
	}
	n.Subnet, n.Gateway, n.Ranges = "10.9.0.0/16", "10.9.0.1", []string{"10.9.1.0/24", "10.9.3.1-10.9.3.9"}
	i = networkInspect(engine.NetworkInfo{Network: n}, false)
	if len(i.IPAM.Config) != 1 || i.IPAM.Config[0].Gateway != "10.9.0.1" || i.IPAM.Driver != "default" || i.Options["vsphere.ip-range"] != "10.9.1.0/24 10.9.3.1-10.9.3.9" {
		t.Errorf("%+v", i)
	}
}
