package engine_test

import (
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// A container that publishes a port opens it on container networks that let it in,
// and has it published again when it is back on the bridge.
func TestExternalConnect(t *testing.T) {
	h := start(t, nil)
	for i, l := range []spec.Trust{spec.TrustPublished, spec.TrustClosed} {
		n := spec.Network{ID: strings.Repeat("ef"[i:i+1], 64), Name: string(l), Driver: spec.DriverExternal, PortGroup: "VM Network", Trust: l, Builtin: true}
		if _, err := h.f.CreateNetwork(h.ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	id := h.run("box", `"Cmd":["sleep","1000"],"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8000"}]}}`)
	ports := func() string {
		var out []string
		for _, ep := range h.inspect(id).Container.Endpoints {
			out = append(out, ep.Network+" "+strings.Join(ep.Ports, ","))
		}
		return strings.Join(out, "; ")
	}
	for _, s := range []struct {
		connect bool
		network string
		want    string
	}{
		{true, "published", "bridge 8000:80/tcp; published 80/tcp"},
		{true, "closed", "bridge 8000:80/tcp; published 80/tcp; closed "},
		{false, "bridge", "published 80/tcp; closed "},
		{true, "bridge", "published 80/tcp; closed ; bridge 8000:80/tcp"},
		{false, "published", "closed ; bridge 8000:80/tcp"},
	} {
		var err error
		if s.connect {
			err = h.e.NetworkConnect(h.ctx, s.network, id, engine.EndpointRequest{})
		} else {
			err = h.e.NetworkDisconnect(h.ctx, s.network, id, false)
		}
		if err != nil || ports() != s.want {
			t.Errorf("%+v: %v, ports %q", s, err, ports())
		}
	}
	if err := h.e.NetworkRemove(h.ctx, "closed"); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), "--container-network") {
		t.Errorf("removed: %v", err)
	}
	if _, err := h.e.NetworkCreate(h.ctx, spec.Network{Name: "more", Driver: "external"}); !errdefs.IsNotImplemented(err) {
		t.Errorf("made: %v", err)
	}
	if list, err := h.e.NetworkList(engine.Filters{"driver": {"external"}, "type": {"builtin"}}); err != nil || len(list) != 2 {
		t.Errorf("%+v, %v", list, err)
	}
}
