package portlayer

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/network"
)

const (
	// firstRetry and lastRetry are the waits between tries to connect.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second

	logoutTimeout = 5 * time.Second
)

// connect logs in and finds the VCH's place. It tries again while vSphere does
// not answer, which is so when both come up after a power failure.
func (p *PortLayer) connect(ctx context.Context) (*live, error) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		l, err := p.tryConnect(ctx)
		if err == nil || ctx.Err() != nil || !errdefs.IsUnavailable(err) {
			return l, err
		}
		p.cfg.Log.WithError(err).Warnf("vSphere does not answer, trying again in %s", wait)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}

func (p *PortLayer) tryConnect(ctx context.Context) (*live, error) {
	v := p.cfg.VCH
	s, err := vsphere.Dial(ctx, vsphere.Config{
		URL: v.Target, User: v.User, Password: v.Password, Thumbprint: v.Thumbprint, Log: p.cfg.Log,
	})
	if err != nil {
		return nil, err
	}
	l, err := p.settle(ctx, s)
	if err != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
		defer cancel()
		_ = s.Logout(late) // its timeout ends it else
		return nil, err
	}
	return l, nil
}

func (p *PortLayer) settle(ctx context.Context, s *vsphere.Session) (*live, error) {
	v := p.cfg.VCH
	place, err := s.Place(ctx, vsphere.PlaceConfig{Datacenter: v.Datacenter, Pool: v.Pool, Folder: v.Folder, Host: v.Host})
	if err != nil {
		return nil, err
	}
	store, err := datastorePath(v.ImageStore)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	ds, err := s.Datastore(ctx, vsphere.DatastoreConfig{
		Datacenter: v.Datacenter, Name: store.Datastore, Pool: &place.Pool, Folder: &place.Folder, Host: place.Host, Owner: v.UUID,
	})
	if err != nil {
		return nil, err
	}
	// Before the image store and volumes, which import disks.
	if err := s.CleanUpImports(ctx, place, v.UUID); err != nil {
		p.cfg.Log.WithError(err).Warn("what interrupted disk imports left behind could not be removed")
	}
	return &live{session: s, place: place, ds: ds}, nil
}

func datastorePath(s string) (object.DatastorePath, error) {
	var p object.DatastorePath
	if !p.FromString(s) {
		return p, fmt.Errorf("%q is not of the form \"[datastore] path\": %w", s, errdefs.ErrInvalidArgument)
	}
	return p, nil
}

// loadNetworks makes the networks known that are kept on the image datastore.
// One that cannot be read, or not be used, stays where it is.
func (p *PortLayer) loadNetworks(ctx context.Context) error {
	all, damaged, err := p.changes.store.Load(ctx)
	if err != nil {
		return err
	}
	return p.leases.Change(func(s network.State) (network.State, error) {
		s.Damaged = damaged
		for _, n := range all {
			next, err := network.Load(s, n)
			if err != nil {
				subnet, _ := netip.ParsePrefix(n.Subnet) // not valid: it holds nothing
				s.Damaged = append(s.Damaged, network.Damaged{ID: n.ID, Name: n.Name, Subnet: subnet, Err: err})
				continue
			}
			s = next
		}
		for _, d := range s.Damaged {
			p.cfg.Log.WithError(d.Err).WithField(spec.FieldNetwork, d.ID).Errorf("network %q cannot be used", d.Name)
		}
		return s, nil
	})
}

// used are the networks that the VCH is on with addresses that were given.
func used(v spec.VCH) []netip.Prefix {
	var out []netip.Prefix
	for role, n := range v.Networks {
		if p, err := netip.ParsePrefix(n.IP); err == nil && role != "bridge" {
			out = append(out, p.Masked())
		}
	}
	return out
}

// line is what containers' serial ports dial.
func (p *PortLayer) line() (string, error) {
	if p.cfg.Line != nil {
		return p.cfg.Line()
	}
	_, port, err := net.SplitHostPort(p.cfg.Concentrator.Addr().String())
	if err != nil {
		return "", fmt.Errorf("port of the serial concentrator: %w", err)
	}
	ip, err := managementAddress(p.cfg.VCH.Networks)
	if err != nil {
		return "", err
	}
	return "tcp://" + net.JoinHostPort(ip.String(), port), nil
}

// managementAddress is the appliance's address on the management network, or on
// the one that stands in for it.
func managementAddress(networks map[string]spec.VCHNetwork) (netip.Addr, error) {
	for _, role := range []string{"management", "client", "external"} {
		n, ok := networks[role]
		if !ok {
			continue
		}
		if p, err := netip.ParsePrefix(n.IP); err == nil {
			return p.Addr(), nil
		}
		return addressOf(n.MAC)
	}
	return netip.Addr{}, fmt.Errorf("the VCH has no management network: %w", errdefs.ErrFailedPrecondition)
}

func addressOf(mac string) (netip.Addr, error) {
	all, err := net.Interfaces()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list network interfaces: %w", err)
	}
	for _, i := range all {
		if mac == "" || !strings.EqualFold(i.HardwareAddr.String(), mac) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return netip.Addr{}, fmt.Errorf("addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLinkLocalUnicast() {
				return p.Addr(), nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("the VCH has no address on its management network (NIC %s) yet: %w", mac, errdefs.ErrUnavailable)
}

// dns gives the name servers of containers that name none: those of the
// appliance, whose NAT they are behind.
func (p *PortLayer) dns() []string {
	if p.cfg.DNS != nil {
		return p.cfg.DNS()
	}
	for _, role := range []string{"external", "client", "management"} {
		if s := p.cfg.VCH.Networks[role].DNS; len(s) > 0 {
			return s
		}
	}
	b, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil // a network without names
	}
	return nameservers(string(b))
}

func nameservers(resolvConf string) []string {
	var out []string
	for _, l := range strings.Split(resolvConf, "\n") {
		f := strings.Fields(l)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && !a.IsLoopback() {
			out = append(out, a.String())
		}
	}
	return out
}
