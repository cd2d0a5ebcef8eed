package portlayer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/object"

	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/policy/firewall"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/exec"
	"github.com/vic-engine/vic/portlayer/names"
	"github.com/vic-engine/vic/portlayer/network"
)

const (
	// pushTimeout bounds telling one guest of its networks.
	pushTimeout = 5 * time.Second
	// plugTimeout likewise, when it has to find a card first (tether's plugWait).
	plugTimeout = 20 * time.Second
	// pushes is how many guests are told at once.
	pushes = 16
	// retryPush is when guests that could not be told are told again, and when
	// the appliance's network is looked at again.
	retryPush = 10 * time.Second
)

// containers is what the router needs of package exec.
type containers interface {
	Container(id string) (spec.View, error)
	Snapshots() []*spec.View
	Session(ctx context.Context, id string) (exec.Line, error)
	Update(ctx context.Context, id string, change func(*spec.Container) error) error
	Card(ctx context.Context, id, portGroup string) (nic *exec.NIC, cards int, err error)
	Plug(ctx context.Context, id, portGroup, mac string) (slot int, err error)
	Unplug(ctx context.Context, id, portGroup, mac string) error
}

// nameServer is what the router needs of package names.
type nameServer interface {
	Set([]names.View) error
}

// router keeps the appliance's network, and what guests know of theirs, as the
// networks and containers want it. It is told of changes and then makes all so,
// whatever it was before: what is right already costs nothing.
type router struct {
	mac     string // of the appliance's NIC on the bridge
	leases  *network.Leases
	setUp   func(network.NAT) error
	local   func() ([]netip.Addr, error) // the appliance's other addresses
	names   nameServer
	dns     func() []string
	report  func([]string) error // of published ports; may be nil
	arp     func(ctx context.Context, mac string, heard func(network.Claim)) error
	vch     []policy.Policy // that are valid on all networks
	police  func([]spec.PolicyRule) error
	members memberCache
	log     *logrus.Entry

	// applying is held while the appliance is changed; it guards own, its addresses
	// as they were found last, nil: not yet, and nat, rules, zones and ports, which
	// are what was made last.
	applying sync.Mutex
	own      []netip.Addr
	nat      *network.NAT
	rules    []spec.PolicyRule // nil: none were made yet
	zones    []network.Zone
	ports    []string

	mu     sync.Mutex // guards what follows; short
	cs     containers // nil until containers are managed
	claims map[string][]network.Publication
	guests map[string]*guest
	kicked chan struct{} // of one
	ups    map[string]bool

	duplicates network.Duplicates
}

// guest is what is known of one container's guest.
type guest struct {
	// lock is held while it is told, so that the newer comes last.
	lock chan struct{}
	// sent is what it was told; empty: nothing since its boot.
	sent string
	// told: it was told something in this run, so it may have to be told again.
	told bool
	// ours was started by this engine: it has what its configuration says.
	ours bool
}

func newRouter(cfg Config, leases *network.Leases, dns func() []string, ns nameServer, vch []policy.Policy) *router {
	mac := cfg.VCH.Networks["bridge"].MAC
	setUp, local := cfg.SetUpNetwork, func() ([]netip.Addr, error) { return nil, nil }
	police := cfg.SetUpPolicies
	if police == nil && setUp == nil {
		police = appliancePolicies(new(firewall.Firewall))
	}
	if police == nil {
		police = func([]spec.PolicyRule) error { return nil }
	}
	if setUp == nil {
		setUp, local = new(network.Place).Set, func() ([]netip.Addr, error) { return network.LocalAddresses(mac) }
	}
	arp := cfg.ListenARP
	if arp == nil {
		arp = network.ListenARP
	}
	return &router{
		mac: mac, arp: arp, leases: leases, setUp: setUp, local: local, names: ns, dns: dns,
		report: cfg.ReportPorts, log: cfg.Log, vch: vch, police: police,
		claims: map[string][]network.Publication{}, guests: map[string]*guest{},
		kicked: make(chan struct{}, 1), ups: map[string]bool{},
	}
}

// newRouter makes the parts that keep networks.
func (p *PortLayer) newRouter() error {
	store, err := datastorePath(p.cfg.VCH.ImageStore)
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	p.names = names.New(names.Config{Upstreams: p.dns, Port: p.cfg.DNSPort, Log: p.cfg.Log})
	policies, err := vchPolicies(p.cfg.VCH)
	if err != nil {
		return err
	}
	p.router = newRouter(p.cfg, p.leases, p.dns, p.names, policies)
	dir := object.DatastorePath{Datastore: store.Datastore, Path: path.Join(store.Path, "VIC", p.cfg.VCH.UUID, "networks")}
	p.changes = &networkChanges{r: p.router, store: network.NewStore(p.ds, dir.String()), now: time.Now}
	return nil
}

// manage gives the router its containers.
func (r *router) manage(cs containers) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cs = cs
}

func (r *router) containers() containers {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cs
}

func (r *router) views() []*spec.View {
	if cs := r.containers(); cs != nil {
		return cs.Snapshots()
	}
	return nil
}

// Run follows events until ctx is done, once all containers are known. It closes
// routed when everything is as it is wanted, or cannot be.
func (r *router) Run(ctx context.Context, subscribe func(context.Context) <-chan spec.Event, routed chan<- struct{}) {
	var work sync.WaitGroup
	defer work.Wait()
	changed := make(chan struct{}, 1)
	work.Go(func() { r.pushAlways(ctx, changed) })
	work.Go(func() { r.listen(ctx) })
	events := subscribe(ctx)
	r.restore()
	r.applyOrLog()
	close(routed)
	retry := time.NewTicker(retryPush)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				if ctx.Err() != nil {
					return
				}
				events = subscribe(ctx)
			} else {
				r.see(e)
			}
		case <-r.kicked:
		case <-retry.C:
			// Also when all was well: the appliance's addresses may have changed.
			r.applying.Lock()
			r.own = nil
			r.applying.Unlock()
			r.applyOrLog()
			continue
		}
		// What came meanwhile is seen to at once.
		for more := true; more && ctx.Err() == nil; {
			select {
			case e, ok := <-events:
				if more = ok; ok {
					r.see(e)
				}
			default:
				more = false
			}
		}
		r.applyOrLog()
		// Guests may be slow: events are not kept waiting for them.
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// pushAlways tells guests after each change, and again those that could not be
// told.
func (r *router) pushAlways(ctx context.Context, changed <-chan struct{}) {
	for again := false; ; {
		var late <-chan time.Time
		t := time.NewTimer(retryPush)
		if again {
			late = t.C
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-late:
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
		again = !r.push(ctx)
	}
}

// see notes one event.
func (r *router) see(e spec.Event) {
	switch e.Kind {
	case spec.EventStarted:
		if e.External {
			r.adopt(&e.View)
		}
	case spec.EventExited:
		if v, err := r.containers().Container(e.ID); err == nil && network.Running(&v) {
			return // it has been started again
		}
		r.mu.Lock()
		delete(r.guests, e.ID)
		delete(r.ups, e.ID)
		r.mu.Unlock()
	case spec.EventRemoved:
		r.mu.Lock()
		delete(r.guests, e.ID)
		delete(r.ups, e.ID)
		delete(r.claims, e.ID)
		r.mu.Unlock()
	}
}

func (r *router) kick() {
	select {
	case r.kicked <- struct{}{}:
	default: // it is to look already
	}
}

// up is told that a guest's line is new.
func (r *router) up(id string) {
	g := r.guest(id)
	r.mu.Lock()
	g.sent = ""
	r.ups[id] = true
	r.mu.Unlock()
	r.kick()
}

func (r *router) guest(id string) *guest {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := r.guests[id]
	if g == nil {
		g = &guest{lock: make(chan struct{}, 1)}
		r.guests[id] = g
	}
	return g
}

// restore lets containers that run have their ports, the oldest first.
func (r *router) restore() {
	all := r.views()
	for i := len(all) - 1; i >= 0; i-- {
		r.adopt(all[i])
	}
}

// adopt lets a container that runs already have its ports.
func (r *router) adopt(v *spec.View) {
	if !network.Running(v) {
		return
	}
	if err := r.claim(&v.Container); err != nil {
		r.log.WithError(err).WithField(spec.FieldContainer, v.Container.ID).Error("running container's ports are not published")
	}
}

// claim lets a container have its host ports, or none when a running one has one
// of them.
func (r *router) claim(c *spec.Container) error {
	mine := network.Published(c.Endpoints)
	views := r.views()
	r.mu.Lock()
	defer r.mu.Unlock()
	var others []network.Publication
	for _, v := range views {
		if v.Container.ID != c.ID && network.Running(v) {
			others = append(others, r.claims[v.Container.ID]...)
		}
	}
	if err := network.Conflict(mine, others, c.Name, c.ID); err != nil {
		delete(r.claims, c.ID)
		return err
	}
	r.claims[c.ID] = mine
	return nil
}

func (r *router) claimed(id string) []network.Publication {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.claims[id]
}

// apply makes the appliance's network as it is wanted.
func (r *router) apply() error {
	r.applying.Lock()
	defer r.applying.Unlock()
	s, views := r.leases.State(), r.views()
	ports := network.Forwards(views, r.claimed)
	if r.own == nil {
		var err error
		if r.own, err = r.local(); err != nil {
			r.log.WithError(err).Warn("containers may not reach published ports by the VCH's addresses")
		}
	}
	nat := s.NATFor(r.mac, r.own, ports)
	if r.nat == nil || !reflect.DeepEqual(*r.nat, nat) {
		r.nat = nil
		if err := r.setUp(nat); err != nil {
			return fmt.Errorf("set up the bridge network: %w", err)
		}
		r.nat = &nat
	}
	rules := append([]spec.PolicyRule{}, s.Rules(r.vch).All(r.members.of(views))...)
	if !reflect.DeepEqual(r.rules, rules) {
		r.rules = nil
		if err := r.police(rules); err != nil {
			return err
		}
		r.rules = rules
	}
	if zones := s.Zones(views); !reflect.DeepEqual(r.zones, zones) {
		if err := r.names.Set(dnsViews(zones)); err != nil {
			r.log.WithError(err).Debug("names are not served on every network yet") // it says so itself
		}
		r.zones = zones
	}
	r.reportPorts(network.PortList(ports))
	return nil
}

func (r *router) applyOrLog() {
	if err := r.apply(); err != nil {
		r.log.WithError(err).Error("network of the VCH is not as it should be: containers may have no way out of it")
	}
}

// reportPorts is called with applying held.
func (r *router) reportPorts(list []string) {
	if r.report == nil || r.ports != nil && slices.Equal(r.ports, list) {
		return
	}
	if err := r.report(list); err != nil {
		r.log.WithError(err).Warn("published ports are not reported")
		return
	}
	r.ports = list
}

func dnsViews(zones []network.Zone) []names.View {
	out := make([]names.View, 0, len(zones))
	for _, z := range zones {
		v := names.View{Network: z.Network, Listen: z.Gateway, Subnet: z.Subnet, Internal: z.Internal}
		for _, n := range z.Names {
			v.Records = append(v.Records, names.Record{
				Owner: n.Owner, For: n.For, Names: slices.Clone(n.Names), Addrs: append([]netip.Addr(nil), n.Addrs...), PTR: n.PTR,
			})
		}
		out = append(out, v)
		if z.Gateway6.IsValid() {
			v.Listen, v.Subnet = z.Gateway6, z.Subnet6
			out = append(out, v)
		}
	}
	return out
}

// push tells every guest that needs it, and says whether all are told.
func (r *router) push(ctx context.Context) bool {
	var failed atomic.Bool
	several := r.tells()
	slots := make(chan struct{}, pushes)
	var wg sync.WaitGroup
	for _, v := range r.views() {
		if v.Status.Phase != spec.PhaseRunning && v.Status.Phase != spec.PhaseStarting || !r.needs(v, several) {
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := r.tell(ctx, v.Container.ID, pushTimeout); err != nil && ctx.Err() == nil {
				failed.Store(true)
				r.log.WithError(err).WithField(spec.FieldContainer, v.Container.ID).Warn("guest does not know its networks as they are, it is told again")
			}
		})
	}
	wg.Wait()
	return !failed.Load()
}

// needs tells whether a guest may have to be told. A guest whose line is not up
// yet is told when it is.
func (r *router) needs(v *spec.View, several bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := v.Container.ID
	if !r.ups[id] && v.Status.Phase == spec.PhaseStarting {
		return false
	}
	g := r.guests[id]
	return several || waits(&v.Container) || g != nil && (g.told || !g.ours && r.ups[id])
}

// waits tells whether a container's guest lets nobody in until it was told: the
// networks or policies that were the reason may be gone by the time that it boots.
func waits(c *spec.Container) bool { return c.NetworkFilter || c.NetworkPolicy }

// foretell gives a guest that runs its networks as they will be.
func (r *router) foretell(ctx context.Context, v spec.View, endpoints []spec.Endpoint, timeout time.Duration) error {
	if v.Status.Phase != spec.PhaseRunning {
		return nil
	}
	v.Container.Endpoints = endpoints
	r.Settle(&v.Container)
	return r.tellOf(ctx, v.Container.ID, timeout, &v)
}

// retell gives a guest that may have been told what is not so its networks as they
// are.
func (r *router) retell(ctx context.Context, id string) error {
	v, err := r.containers().Container(id)
	if err != nil || v.Status.Phase != spec.PhaseRunning {
		return nil //nolint:nilerr // it is gone, or is told when it starts
	}
	return r.tell(ctx, id, pushTimeout)
}

// tell gives a guest its networks as they are now, unless it has them already.
func (r *router) tell(ctx context.Context, id string, timeout time.Duration) error {
	return r.tellOf(ctx, id, timeout, nil)
}

func (r *router) tellOf(ctx context.Context, id string, timeout time.Duration, as *spec.View) error {
	cs := r.containers()
	if cs == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	line, err := cs.Session(ctx, id)
	if err != nil {
		return err
	}
	return r.tellOn(ctx, id, line, as)
}

// tellOn gives a guest its networks on its line: as they are by the time that it is
// its turn, or as another view of the container says.
func (r *router) tellOn(ctx context.Context, id string, line exec.Line, as *spec.View) error {
	g := r.guest(id)
	select {
	case g.lock <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-g.lock }()
	if as == nil {
		v, err := r.containers().Container(id)
		if err != nil {
			return nil //nolint:nilerr // it is gone
		}
		as = &v
	}
	u := r.update(as)
	text, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("networks of container %s: %w", id, err)
	}
	r.mu.Lock()
	same := g.sent == string(text)
	r.mu.Unlock()
	if same {
		return nil
	}
	// Until it has said that it is done, it may have either.
	r.mu.Lock()
	g.sent, g.told = "", true
	r.mu.Unlock()
	if err := line.Network(ctx, u); err != nil {
		return fmt.Errorf("networks of container %s: %w", id, err)
	}
	r.mu.Lock()
	g.sent = string(text)
	r.mu.Unlock()
	return nil
}
