package system

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/sirupsen/logrus"
)

// A Lease is what a DHCP server gave.
type Lease struct {
	Address string // CIDR form
	Gateway string // empty without one
	DNS     []string
	Search  []string
	Time    time.Duration
	raw     *nclient4.Lease
}

// Request asks for an address until ctx ends; the interface must be up.
func (l *Link) Request(ctx context.Context, hostname string) (Lease, error) {
	return l.request(ctx, hostname)
}

func (l *Link) request(ctx context.Context, hostname string, mods ...dhcpv4.Modifier) (Lease, error) {
	c, err := l.client()
	if err != nil {
		return Lease{}, err
	}
	defer c.Close()
	if hostname != "" {
		mods = append(mods, dhcpv4.WithOption(dhcpv4.OptHostName(hostname)))
	}
	for {
		raw, err := c.Request(ctx, mods...)
		if err == nil {
			return lease(raw), nil
		}
		wait := time.NewTimer(retryAfter)
		select {
		case <-ctx.Done():
			wait.Stop()
			return Lease{}, fmt.Errorf("%s: no DHCP server answered: %w", l.Name, err)
		case <-wait.C:
		}
	}
}

// retryAfter spaces requests that fail at once, as on a link without carrier.
const retryAfter = 200 * time.Millisecond

func (l *Link) client() (*nclient4.Client, error) {
	c, err := nclient4.New(l.Name, nclient4.WithTimeout(time.Second), nclient4.WithRetry(3))
	if err != nil {
		return nil, fmt.Errorf("%s: DHCP client: %w", l.Name, err)
	}
	return c, nil
}

// defaultLeaseTime is assumed of a server that does not say.
const defaultLeaseTime = time.Hour

func lease(raw *nclient4.Lease) Lease {
	a := raw.ACK
	mask := a.SubnetMask()
	if mask == nil {
		mask = a.YourIPAddr.DefaultMask()
	}
	out := Lease{
		Address: (&net.IPNet{IP: a.YourIPAddr, Mask: mask}).String(),
		Time:    a.IPAddressLeaseTime(defaultLeaseTime),
		raw:     raw,
	}
	if r := a.Router(); len(r) > 0 {
		out.Gateway = r[0].String()
	}
	for _, d := range a.DNS() {
		out.DNS = append(out.DNS, d.String())
	}
	if s := a.DomainSearch(); s != nil {
		out.Search = s.Labels
	} else if d := a.DomainName(); d != "" {
		out.Search = []string{d}
	}
	return out
}

// shortestRenewal bounds how often a server can have a guest renew its lease.
const shortestRenewal = 5 * time.Second

// Keep renews a lease at half of its time, as long as ctx lives, and asks anew, for
// the same address, when nobody answers: until somebody does, the guest keeps the
// address. It calls changed when the address or anything else of the
// lease is another one.
func (l *Link) Keep(ctx context.Context, have Lease, hostname string, changed func(Lease), log *logrus.Entry) {
	for {
		wait := time.NewTimer(max(have.Time/2, shortestRenewal))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		next, err := l.renew(ctx, have)
		if err != nil {
			log.WithError(err).Warn("lease not renewed, asking for a new one")
			if next, err = l.request(ctx, hostname, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(have.raw.ACK.YourIPAddr))); err != nil {
				return // only when ctx ended
			}
		}
		if next.Address != have.Address || next.Gateway != have.Gateway {
			changed(next)
		}
		have = next
	}
}

func (l *Link) renew(ctx context.Context, have Lease) (Lease, error) {
	c, err := l.client()
	if err != nil {
		return Lease{}, err
	}
	defer c.Close()
	raw, err := c.Renew(ctx, have.raw)
	if err != nil {
		return Lease{}, fmt.Errorf("%s: renew %s: %w", l.Name, have.Address, err)
	}
	return lease(raw), nil
}
