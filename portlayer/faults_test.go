package portlayer

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/network"
)

// faulty is a container with all that can leak: a volume, an address on a
// network that was made, published ports.
func (s *site) faulty(img spec.Image) spec.Container {
	c := s.container(7, img, "/bin/serve", "ready")
	c.Endpoints = []spec.Endpoint{{Network: "app", Ports: []string{"8070:80", "5370:53/udp"}}}
	c.Mounts = []spec.Mount{{Type: spec.MountVolume, Name: "data", Path: "/data"}}
	return c
}

// The operations that are cut off, each with what must be so before.
type cutOff struct {
	name   string
	before func(ctx context.Context, p *PortLayer, c spec.Container) error
	do     func(ctx context.Context, p *PortLayer, c spec.Container) error
	least  int // changes that it takes
}

func cutOffs() []cutOff {
	type with = func(context.Context, *PortLayer, spec.Container) error
	all := func(steps ...with) with {
		return func(ctx context.Context, p *PortLayer, c spec.Container) error {
			for _, s := range steps {
				if err := s(ctx, p, c); err != nil {
					return err
				}
			}
			return nil
		}
	}
	fine := func(err error, is ...func(error) bool) error {
		for _, f := range is {
			if err != nil && f(err) {
				return nil
			}
		}
		return err
	}
	absent := func(ctx context.Context, p *PortLayer, c spec.Container) error {
		return fine(p.Remove(ctx, c.ID, true), errdefs.IsNotFound)
	}
	noVolume := func(ctx context.Context, p *PortLayer, _ spec.Container) error {
		return fine(p.Volumes().RemoveVolume(ctx, "data"), errdefs.IsNotFound)
	}
	volume := func(ctx context.Context, p *PortLayer, _ spec.Container) error {
		_, err := p.Volumes().CreateVolume(ctx, spec.VolumeRequest{Name: "data", Options: map[string]string{"size": "16m"}})
		return err
	}
	create := func(ctx context.Context, p *PortLayer, c spec.Container) error {
		_, err := p.Create(ctx, c)
		return fine(err, errdefs.IsAlreadyExists)
	}
	start := func(ctx context.Context, p *PortLayer, c spec.Container) error { return p.Start(ctx, c.ID) }
	connect := func(ctx context.Context, p *PortLayer, c spec.Container) error {
		return p.Connect(ctx, c.ID, spec.Endpoint{Network: "bridge"})
	}
	return []cutOff{
		{"volume create", all(absent, noVolume), volume, 3},
		{"create", all(absent, volume), create, 4},
		{"start", all(absent, volume, create), start, 1},
		{"connect", all(absent, volume, create, start), connect, 1},
		{"remove", all(volume, create, start), func(ctx context.Context, p *PortLayer, c spec.Container) error { return p.Remove(ctx, c.ID, true) }, 2},
		{"volume remove", all(absent, volume), func(ctx context.Context, p *PortLayer, _ spec.Container) error {
			return p.Volumes().RemoveVolume(ctx, "data")
		}, 1},
	}
}

// The VCH is killed between any two changes that an operation makes on vSphere.
// The next finds nothing that does not belong, and the same can be done again.
func TestKilledBetweenChanges(t *testing.T) {
	for _, op := range cutOffs() {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, lab.ModeESXi)
			p, stop := s.boot()
			img, _, err := p.Images().Pull(t.Context(), s.image, spec.PullOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := p.CreateNetwork(t.Context(), spec.Network{Name: "app"}); err != nil {
				t.Fatal(err)
			}
			stop()
			for n := 0; ; n++ {
				passed, done := s.killAfter(n, op, s.faulty(img))
				p, stop := s.boot()
				s.nothingLeaks(p)
				stop()
				if t.Failed() {
					t.Fatalf("killed after %q", passed)
				}
				if done && n < op.least {
					t.Errorf("it took %q", passed)
				}
				if done {
					return
				}
			}
		})
	}
}

// killAfter begins an operation and ends the engine when it has made n changes
// on vSphere; done when it takes no more.
func (s *site) killAfter(n int, op cutOff, c spec.Container) (passed []string, done bool) {
	s.t.Helper()
	ctx := s.t.Context()
	cut := newCutter(s.t, s.lab.URL())
	p, kill := s.bootBehind(cut)
	defer kill()
	if err := op.before(ctx, p, c); err != nil {
		s.t.Fatalf("before: %v", err)
	}
	s.eventuallySame("marks of creates", nil, func() []string { return list(s.t, s.dir("creating")) })
	cut.arm(n)
	ended := make(chan error, 1)
	go func() { ended <- op.do(ctx, p, c) }()
	select {
	case err := <-ended:
		// Done, or it noticed the cut itself.
		if done = cut.ctx.Err() == nil; done && err != nil {
			s.t.Errorf("not killed: %v", err)
		}
	case <-cut.ctx.Done():
	}
	return cut.seen(), done
}

// settled is a site with a network, a volume, and a container that has both, runs
// and publishes ports.
func settled(t *testing.T) (s *site, p *PortLayer, img spec.Image, c spec.Container) {
	t.Helper()
	s = newSite(t, lab.ModeESXi)
	p, stop := s.boot()
	t.Cleanup(stop)
	img, _, err := p.Images().Pull(t.Context(), s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.CreateNetwork(t.Context(), spec.Network{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	c = s.faulty(img)
	if _, err := p.Volumes().CreateVolume(t.Context(), spec.VolumeRequest{Name: "data", Options: map[string]string{"size": "16m"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	s.nothingLeaks(p)
	return s, p, img, c
}

// Full datastores refuse what is new, whole, and let what there is go on, stop
// and be removed.
func TestFullDatastores(t *testing.T) {
	s, p, img, c := settled(t)
	ctx := t.Context()
	full := func(yes bool) {
		s.lab.FillDatastore("mydatastore", yes)
		s.lab.FillDatastore("datastore2", yes)
	}
	full(true)
	other := s.container(8, img, "/bin/serve", "x")
	other.Endpoints = []spec.Endpoint{{Network: "app", Ports: []string{"8071:80"}}}
	for _, try := range []struct {
		what string
		do   func() error
	}{
		{"create", func() error { _, err := p.Create(ctx, other); return err }},
		{"volume create", func() error {
			_, err := p.Volumes().CreateVolume(ctx, spec.VolumeRequest{Name: "more", Options: map[string]string{"size": "16m"}})
			return err
		}},
		{"network create", func() error { _, err := p.CreateNetwork(ctx, spec.Network{Name: "more"}); return err }},
	} {
		if err := try.do(); !errdefs.IsResourceExhausted(err) {
			t.Errorf("%s: %v", try.what, err)
		}
		s.nothingLeaks(p)
	}
	// Less than a file is needed for this: it works, or nothing of it stays.
	if err := p.Connect(ctx, c.ID, spec.Endpoint{Network: "bridge"}); err != nil && !errdefs.IsResourceExhausted(err) {
		t.Errorf("connect: %v", err)
	}
	s.nothingLeaks(p)
	if err := p.Stop(ctx, c.ID, "", time.Minute); err != nil {
		t.Errorf("stop: %v", err)
	}
	s.nothingLeaks(p)
	if err := p.Remove(ctx, c.ID, false); err != nil {
		t.Errorf("remove: %v", err)
	}
	s.nothingLeaks(p)
	full(false)
	if _, err := p.Create(ctx, other); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	s.nothingLeaks(p)
}

// An administrator deletes the VM that a volume is attached to, and its disks
// with it, as vSphere's client does. The container is gone with all it had; the
// volume says what has become of it.
func TestVolumesVMDeleted(t *testing.T) {
	s, p, _, c := settled(t)
	ctx := t.Context()
	for _, vm := range s.machines() {
		off, err := vm.PowerOff(ctx)
		if err == nil {
			err = off.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		destroy, err := vm.Destroy(ctx)
		if err == nil {
			err = destroy.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the container is gone", func() bool { _, err := p.Container(c.ID); return errdefs.IsNotFound(err) })
	eventually(t, "the volume says that its disk is gone", func() bool {
		v, err := p.Volumes().Volume("data")
		return err == nil && strings.Contains(v.Unavailable, "data.vmdk is gone")
	})
	s.nothingLeaks(p)
	c.ID = strings.Repeat("a", 64)
	if _, err := p.Create(ctx, c); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "data.vmdk is gone") {
		t.Errorf("a container with it: %v", err)
	}
	s.nothingLeaks(p)
	if err := p.Volumes().RemoveVolume(ctx, "data"); err != nil {
		t.Error(err)
	}
	s.nothingLeaks(p)
}

// Another machine on the port group announces an address that a container has,
// and the gateway's: both are reported, for as long as they are somebody's.
func TestDuplicateAddress(t *testing.T) {
	s, p, _, c := settled(t)
	v, err := p.Container(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	own := netip.MustParsePrefix(v.Container.Endpoints[0].IP).Addr()
	for _, claim := range []network.Claim{
		{MAC: v.Container.Endpoints[0].MAC, Addr: own},                         // itself
		{MAC: "00:50:56:00:00:01", Addr: netip.MustParseAddr("172.17.0.1")},    // the VCH
		{MAC: "00:0c:29:00:00:09", Addr: netip.MustParseAddr("172.17.99.99")},  // nobody's address
		{MAC: "00:0c:29:00:00:09", Addr: netip.MustParseAddr("203.0.113.200")}, // of another network
	} {
		s.wire <- claim
	}
	if got := p.Troubles(); len(got) > 0 {
		t.Errorf("without duplicates: %q", got)
	}
	stranger := network.Claim{MAC: "00:0c:29:00:00:09", Addr: own}
	s.wire <- stranger
	s.wire <- stranger
	s.wire <- network.Claim{MAC: "00:0c:29:00:00:09", Addr: netip.MustParseAddr("172.16.0.1")}
	eventually(t, "both are reported", func() bool { return len(p.Troubles()) == 2 })
	if got := strings.Join(p.Troubles(), "\n"); !strings.Contains(got, own.String()+" of container c7 (000000000000) is used twice") || !strings.Contains(got, "172.16.0.1 of the VCH") {
		t.Errorf("reported: %s", got)
	}
	s.nothingLeaks(p)
	if err := p.Remove(t.Context(), c.ID, true); err != nil {
		t.Fatal(err)
	}
	if got := p.Troubles(); len(got) != 1 {
		t.Errorf("when the container is gone: %q", got)
	}
	s.nothingLeaks(p)
}

// A session that vSphere has forgotten is renewed, whatever is done next: a file
// that is small is sent again, one that is large is asked for first.
func TestFilesAfterLostSession(t *testing.T) {
	s := newSite(t, lab.ModeESXi)
	se := s.admin()
	ds, err := se.Datastore(t.Context(), vsphere.DatastoreConfig{Name: "mydatastore"})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 10, 1 << 20} {
		s.lab.DropSessions()
		text := strings.Repeat("x", size)
		if err := ds.Put(t.Context(), ds.Path("file"), strings.NewReader(text), int64(size)); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if b, err := os.ReadFile(filepath.Join(s.store, "file")); err != nil || string(b) != text {
			t.Errorf("%d bytes: %d are there, %v", size, len(b), err)
		}
	}
	if se.Logins() != 4 {
		t.Errorf("%d logins, want 4", se.Logins())
	}
	for _, size := range []int64{9, 11} {
		if err := ds.Put(t.Context(), ds.Path("wrong"), strings.NewReader("0123456789"), size); err == nil {
			t.Errorf("10 bytes are put as %d", size)
		}
	}
}
