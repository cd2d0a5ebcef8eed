package tether

import (
	"context"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// addressWait is how long a container's start waits for DHCP.
const addressWait = 30 * time.Second

// network brings the container's NICs up; leases come while disks are mounted. One
// that shall be filtered is so before it is up.
func (c *Container) network(ctx context.Context) error {
	c.nics.log, c.nics.hostname, c.nics.changed = c.log, hostnameOf(c.spec), c.addressChanged
	c.nics.load, c.nics.bySource = c.load, true
	if c.maintenance {
		return nil // files need none
	}
	configs, err := endpointConfigs(c.spec.Endpoints)
	if err != nil {
		return err
	}
	if err := c.nics.find(configs); err != nil {
		return err
	}
	if c.spec.NetworkFilter {
		if err := c.filter(configs, spec.NetworkUpdate{Filter: true}); err != nil {
			return err
		}
	}
	if err := c.nics.start(ctx, c.goes); err != nil {
		return err
	}
	if !c.spec.NetworkFilter { // otherwise nothing leaves until the first update
		c.announce(c.nics.placed())
	}
	return nil
}

// announce tells others on the wire where addresses are now. The container that had
// one of them before may be known still, by another card.
func (c *Container) announce(addresses map[*nic][]string) {
	c.announced = true
	for n, list := range addresses {
		for _, cidr := range list {
			if err := n.link.Announce(cidr); err != nil {
				c.log.WithError(err).Warn("others may look for the address elsewhere")
			}
		}
	}
}

// placed are the addresses that cards on the bridge have.
func (n *nics) placed() map[*nic][]string {
	out := map[*nic][]string{}
	for _, c := range n.list {
		if len(c.cfg.Places) > 0 {
			out[c] = append(c.cfg.addresses(), c.cfg.addresses6()...)
		}
	}
	return out
}

func (c *Container) addresses(ctx context.Context) error {
	if c.maintenance {
		return nil // nobody needs one
	}
	ctx, cancel := context.WithTimeout(ctx, addressWait)
	defer cancel()
	if err := c.nics.wait(ctx); err != nil {
		return err
	}
	c.reportAddresses()
	return nil
}

// addressChanged follows a lease: what Docker shows, and the files that hold
// addresses and name servers, once the boot has written them.
func (c *Container) addressChanged() {
	c.reportAddresses()
	select {
	case <-c.networked:
	default:
		return
	}
	c.updating.Lock()
	defer c.updating.Unlock()
	if err := c.rewriteHostFiles(); err != nil {
		c.log.WithError(err).Warn("/etc/hosts and /etc/resolv.conf do not follow the lease")
	}
}

// reportAddresses tells guestinfo and the engine what the NICs have.
func (c *Container) reportAddresses() {
	c.reporting.Lock()
	defer c.reporting.Unlock()
	have := c.nics.byName()
	for name := range c.reported {
		if _, ok := have[name]; !ok {
			c.reportAddress(name, "")
		}
	}
	for name, cidr := range have {
		if c.reported[name] != cidr {
			c.reportAddress(name, cidr)
		}
	}
	c.reported = have
	if c.session != nil {
		c.session.ReportAddresses(have)
	}
	c.tell()
}

func (c *Container) reportAddress(network, cidr string) {
	if err := c.rpc.Set(guestinfo.AssignedIPKey(network), cidr); err != nil {
		c.log.WithError(err).Warn("address not reported")
	}
}

// tmpfsOptions splits Docker's --tmpfs options into flags and what tmpfs itself
// understands. Like Docker's, a tmpfs is noexec, nosuid and nodev unless told.
func tmpfsOptions(options string) (flags uintptr, data string) {
	flags = unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV
	known := map[string]uintptr{"exec": unix.MS_NOEXEC, "suid": unix.MS_NOSUID, "dev": unix.MS_NODEV}
	sets := map[string]uintptr{"ro": unix.MS_RDONLY, "noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME,
		"strictatime": unix.MS_STRICTATIME, "sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC}
	var rest []string
	for _, o := range strings.Split(options, ",") {
		if f, ok := known[o]; ok {
			flags &^= f
			continue
		}
		if f, ok := sets[o]; ok {
			flags |= f
			continue
		}
		switch o {
		case "", "rw", "noexec", "nosuid", "nodev", "async", "atime", "diratime", "relatime":
		default:
			rest = append(rest, o)
		}
	}
	return flags, strings.Join(rest, ",")
}

// writeResolvConf is the appliance's own /etc/resolv.conf and /etc/hosts.
func writeResolvConf(n *nics, hostname string) error {
	files := map[string]string{
		"/etc/resolv.conf": system.ResolvConf(n.dns(), n.search(), nil),
		"/etc/hosts":       system.Hosts(system.HostsConfig{Hostname: hostname, Addresses: n.own()}),
	}
	for name, text := range files {
		if err := os.WriteFile(name+".new", []byte(text), 0o644); err != nil {
			return err
		}
		if err := os.Rename(name+".new", name); err != nil {
			return err
		}
	}
	return nil
}
