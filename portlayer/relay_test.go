package portlayer

import (
	"errors"
	"net"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

func TestRelayIsAllowedByTheVCH(t *testing.T) {
	p := &PortLayer{cfg: Config{VCH: spec.VCH{}}, relayed: newRelayed()}
	q := tetherproto.RelayRequest{Socket: "/var/run/docker.sock"}
	if serve, err := p.relay("x", q); serve != nil || !errdefs.IsPermissionDenied(err) {
		t.Errorf("a VCH that does not allow it: %v", err)
	}
	p.cfg.VCH.DockerSocket = true
	if serve, err := p.relay("x", q); serve != nil || !errdefs.IsUnavailable(err) {
		t.Errorf("a VCH that knows no container yet: %v", err)
	}
}

func TestRelayIsForWhoAskedForIt(t *testing.T) {
	c := spec.Container{Mounts: []spec.Mount{
		{Type: spec.MountVolume, Name: "v", Source: "/var/run/docker.sock"},
		{Type: spec.MountSocket, Path: "/other", Source: "/run/docker.sock"},
	}}
	for socket, want := range map[string]bool{"/run/docker.sock": true, "/var/run/docker.sock": false, "/other": false, "": false} {
		if got := asksFor(c, socket); got != want {
			t.Errorf("%q: %v, want %v", socket, got, want)
		}
	}
}

func TestRelayedEndsWithItsListener(t *testing.T) {
	r := newRelayed()
	accepted := make(chan error, 1)
	go func() { _, err := r.Accept(); accepted <- err }()
	_, _ = r.Close(), r.Close()
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}
