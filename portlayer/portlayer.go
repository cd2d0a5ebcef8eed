package portlayer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/clock"
	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/attach"
	"github.com/vic-engine/vic/portlayer/events"
	"github.com/vic-engine/vic/portlayer/exec"
	"github.com/vic-engine/vic/portlayer/names"
	"github.com/vic-engine/vic/portlayer/network"
	"github.com/vic-engine/vic/portlayer/storage"
)

// Config of a PortLayer.
type Config struct {
	VCH spec.VCH
	// SpoolDir is a folder on the appliance's scratch disk.
	SpoolDir string
	// Concentrator accepts the containers' serial lines. Run closes it.
	Concentrator net.Listener
	// Line is what the containers' serial ports dial, "tcp://host:port"; nil:
	// the appliance's address on its management network and the port of
	// Concentrator, looked up each time.
	Line func() (string, error)
	// SetUpNetwork gives the appliance its place on the bridge; nil:
	// network.Place. A failure is logged: containers run without a way out.
	SetUpNetwork func(network.NAT) error
	// SetUpPolicies lets the appliance enforce the rules of policies on what passes
	// through it, containers' way to published ports for one; nil: nftables,
	// or nothing with another SetUpNetwork.
	SetUpPolicies func([]spec.PolicyRule) error
	// ListenARP hears the bridge, see network.ListenARP, which it is when nil.
	ListenARP func(ctx context.Context, mac string, heard func(network.Claim)) error
	// ReportPorts gets the host ports that are published, "80/tcp", whenever
	// they change; nil: nobody is told.
	ReportPorts func([]string) error
	// DNSPort is where names are served on the gateway addresses; zero: 53, see
	// package names.
	DNSPort int
	// DNS gives the servers of containers that name none; nil: those of the
	// appliance.
	DNS func() []string
	// BootTimeout bounds a container's start; zero: that of package exec.
	BootTimeout time.Duration
	// Clock follows that of vSphere; nil: it is left alone.
	Clock clock.Clock
	// Resync is how often everything is read again; zero: that of package events.
	Resync time.Duration
	Log    *logrus.Entry
}

// PortLayer implements engine.PortLayer. Until Ready its calls are
// ErrUnavailable and its lists empty.
type PortLayer struct {
	cfg     Config
	signer  ssh.Signer
	leases  *network.Leases
	images  *storage.Images
	volumes *storage.Volumes
	ds      *lateDatastore
	bus     events.Bus
	ready   chan struct{}
	live    atomic.Pointer[live] // set once connected
	relayed *relayed
	names   *names.Server
	router  *router
	changes *networkChanges
}

// live is what there is only with a session.
type live struct {
	session *vsphere.Session
	place   vsphere.Place
	ds      *vsphere.Datastore
	exec    *exec.Manager
}

// New checks the configuration and starts nothing.
func New(cfg Config) (*PortLayer, error) {
	if cfg.Log == nil || cfg.Concentrator == nil || cfg.SpoolDir == "" {
		return nil, errors.New("port layer: log, concentrator and spool folder must be given")
	}
	signer, err := ssh.ParsePrivateKey([]byte(cfg.VCH.AttachKey))
	if err != nil {
		return nil, fmt.Errorf("port layer: attach key of the VCH: %w", err)
	}
	bridge := cfg.VCH.Networks["bridge"]
	state, err := network.New(network.Config{
		VCH: cfg.VCH.UUID, Range: cfg.VCH.BridgeRange, Width: cfg.VCH.BridgeWidth, PortGroup: bridge.PortGroup,
		Used: used(cfg.VCH), External: cfg.VCH.ContainerNetworks,
	})
	if err != nil {
		return nil, fmt.Errorf("port layer: %w", err)
	}
	p := &PortLayer{
		cfg: cfg, signer: signer, leases: network.NewLeases(state), ds: &lateDatastore{}, ready: make(chan struct{}),
		relayed: newRelayed(),
	}
	if err := p.newRouter(); err != nil {
		return nil, fmt.Errorf("port layer: %w", err)
	}
	client, err := image.NewClient(image.ClientConfig{
		Mirrors: cfg.VCH.RegistryMirrors, Insecure: cfg.VCH.InsecureRegistries, CAs: cfg.VCH.RegistryCAs, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("port layer: registries: %w", err)
	}
	p.images, err = storage.New(storage.Config{
		Datastore: p.ds, ImageStore: cfg.VCH.ImageStore, VCH: cfg.VCH.UUID, Spool: cfg.SpoolDir, Client: client, Log: cfg.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("port layer: %w", err)
	}
	if p.volumes, err = p.newVolumes(); err != nil {
		return nil, fmt.Errorf("port layer: %w", err)
	}
	return p, nil
}

// Images is the image store.
func (p *PortLayer) Images() *storage.Images { return p.images }

// Ready is closed when every container is known again and lines are served.
func (p *PortLayer) Ready() <-chan struct{} { return p.ready }

// Run connects and works until ctx is done or the port layer cannot go on. It
// waits for a vSphere that does not answer; one that refuses is an error.
func (p *PortLayer) Run(ctx context.Context) error {
	defer p.cfg.Concentrator.Close()
	l, err := p.connect(ctx)
	if err != nil {
		return fmt.Errorf("port layer: %w", err)
	}
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
		defer cancel()
		if err := l.session.Logout(late); err != nil {
			p.cfg.Log.WithError(err).Warn("vSphere session is left to its timeout")
		}
	}()
	own := follower{clock: p.cfg.Clock, ask: l.session.ClockOffset, log: p.cfg.Log}
	own.set(ctx)
	lines := attach.New(attach.Config{Signer: p.signer, HostKey: p.hostKey, Report: p.report, Relay: p.relay, Up: p.up, Again: p.again, Log: p.cfg.Log})
	if l.exec, err = p.manager(ctx, l, lines); err != nil {
		return fmt.Errorf("port layer: %w", err)
	}
	defer l.exec.Close()
	p.ds.set(l.ds)
	p.router.manage(l.exec)
	// Before any container, whose leases are on them.
	if err := p.loadNetworks(ctx); err != nil {
		return fmt.Errorf("port layer: %w", err)
	}
	p.live.Store(l)

	rec := events.New(events.Config{
		Feed: l.session, Folder: l.place.Folder, Containers: l.exec, Every: p.cfg.Resync, Log: p.cfg.Log,
	})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return rec.Run(ctx) })
	g.Go(func() error { return p.names.Run(ctx) })
	g.Go(func() error { own.run(ctx); return nil })
	g.Go(func() error { l.exec.FollowClocks(ctx); return nil })
	routed := make(chan struct{})
	g.Go(func() error {
		// Not earlier: what is published stays so while nobody is known yet.
		select {
		case <-rec.Ready():
			p.router.Run(ctx, p.bus.Subscribe, routed)
		case <-ctx.Done():
		}
		return nil
	})
	g.Go(func() error { return p.volumes.Run(ctx) })
	if len(p.cfg.VCH.TagLabels) > 0 {
		g.Go(func() error {
			select {
			case <-rec.Ready():
				p.tag(ctx, l.session)
			case <-ctx.Done():
			}
			return nil
		})
	}
	g.Go(func() error { p.checkVolumes(ctx); return nil })
	g.Go(func() error {
		if err := p.images.Load(ctx); err != nil {
			return fmt.Errorf("image store: %w", err)
		}
		select {
		case <-rec.Ready():
		case <-ctx.Done():
			return nil
		}
		if err := l.exec.CleanUp(ctx); err != nil {
			p.cfg.Log.WithError(err).Warn("what interrupted creates left behind could not be removed")
		}
		p.awaitVolumes(ctx)
		select {
		case <-routed:
		case <-ctx.Done():
			return nil
		}
		// Not earlier: a report of a container that is not known yet is lost.
		g.Go(func() error { return lines.Serve(ctx, p.cfg.Concentrator) })
		p.cfg.Log.WithField("containers", len(l.exec.Containers())).Info("port layer is ready")
		close(p.ready)
		return nil
	})
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("port layer: %w", err)
	}
	return nil
}

// manager makes the part that runs containers.
func (p *PortLayer) manager(ctx context.Context, l *live, lines *attach.Server) (*exec.Manager, error) {
	v := p.cfg.VCH
	store, err := datastorePath(v.ImageStore)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	iso, err := datastorePath(v.BootstrapISO)
	if err != nil {
		return nil, fmt.Errorf("boot image: %w", err)
	}
	isoRef := l.ds.Reference()
	if iso.Datastore != store.Datastore {
		ds, err := l.session.Datastore(ctx, vsphere.DatastoreConfig{Datacenter: v.Datacenter, Name: iso.Datastore})
		if err != nil {
			return nil, fmt.Errorf("boot image: %w", err)
		}
		isoRef = ds.Reference()
	}
	return exec.New(exec.Config{
		VCH: v.UUID, AuthorizedKey: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p.signer.PublicKey()))),
		VSphere: l.session, Place: l.place,
		Datastore: l.ds, DatastoreName: l.ds.Name(), DatastoreRef: l.ds.Reference(),
		Marks:        l.ds.Path(store.Path, "VIC", v.UUID, "creating"),
		BootstrapISO: v.BootstrapISO, BootstrapRef: isoRef,
		Line: p.line, DNS: p.dns, Images: p.images, Volumes: p.volumes, Lines: concentrator{lines}, Leases: p.leases, Networks: p.router,
		CPUs: v.DefaultCPUs, MemoryMB: v.DefaultMemoryMB, RootSizeMB: v.RootSizeMB,
		BootTimeout: p.cfg.BootTimeout, Publish: p.bus.Publish, Log: p.cfg.Log,
	})
}

// manage gives the running part, or says that there is none yet.
func (p *PortLayer) manage() (*exec.Manager, error) {
	if l := p.live.Load(); l != nil {
		return l.exec, nil
	}
	return nil, fmt.Errorf("not connected to vSphere yet: %w", errdefs.ErrUnavailable)
}
