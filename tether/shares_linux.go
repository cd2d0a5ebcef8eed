package tether

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/nfs"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// How long an NFS server may take to answer at all, to have a folder mounted, and
// to take what was written last at the shutdown.
const (
	serverWait = 10 * time.Second
	mountWait  = 30 * time.Second
	sealWait   = 10 * time.Second
)

// Ports of the services that a client asks first.
const (
	portmapPort = 111
	nfsPort     = 2049
)

// splitMounts tells what can be mounted before the network is up, and what must
// wait for it: NFS, and what lies inside of it. The order is kept.
func splitMounts(mounts []spec.Mount) (now, later []spec.Mount) {
	for _, m := range mounts {
		if m.Type == spec.MountNFS || insideShare(m, mounts) {
			later = append(later, m)
		} else {
			now = append(now, m)
		}
	}
	return now, later
}

// insideShare tells whether m's destination is below one of NFS.
func insideShare(m spec.Mount, mounts []spec.Mount) bool {
	for _, o := range mounts {
		if o.Type == spec.MountNFS && strings.HasPrefix(filepath.Clean(m.Path), strings.TrimSuffix(filepath.Clean(o.Path), "/")+"/") && filepath.Clean(m.Path) != filepath.Clean(o.Path) {
			return true
		}
	}
	return false
}

// shares mounts what is on NFS servers. A container that is filtered reaches them
// once the engine has told it of its networks.
func (c *Container) shares(ctx context.Context) error {
	_, later := splitMounts(c.spec.Mounts)
	if len(later) == 0 {
		return nil
	}
	if c.maintenance {
		return c.withoutShares(later)
	}
	c.awaitPeers(ctx)
	return c.mountAll(ctx, later)
}

// share gives the mounted folder of an NFS volume. It can be written to; mounts of it
// that must not be are read-only each for itself.
func (c *Container) share(ctx context.Context, m spec.Mount) (*disk, error) {
	if d := c.sharesOf[m.Source]; d != nil {
		return d, nil
	}
	host, _, err := nfs.SplitSource(m.Source)
	if err != nil {
		return nil, err
	}
	addr, err := c.serverAddress(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("NFS server %s: %w", host, err)
	}
	if err := answers(ctx, addr, m.Options); err != nil {
		return nil, fmt.Errorf("NFS server %s cannot be reached from the container's networks: %w", host, err)
	}
	if err := c.filesystem("nfs", system.NFS); err != nil {
		return nil, err
	}
	d := &disk{name: m.Name, fs: "nfs", dir: filepath.Join(volumesDir, fmt.Sprintf("nfs-%d", len(c.sharesOf))), writable: true}
	mnt := system.Mount{Source: m.Source, Target: d.dir, Type: "nfs", Data: nfs.MountData(addr, m.Options)}
	// The kernel gives up on a server that is silent, but in its own time.
	done := make(chan error, 1)
	c.goes(func() { done <- mnt.Do() })
	wait := time.NewTimer(mountWait)
	defer wait.Stop()
	select {
	case err = <-done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-wait.C:
		err = fmt.Errorf("NFS server %s has not given %s within %s", addr, m.Source, mountWait)
	}
	if err != nil {
		return nil, err
	}
	if c.sharesOf == nil {
		c.sharesOf = map[string]*disk{}
	}
	c.sharesOf[m.Source] = d
	return d, nil
}

// serverAddress finds a server by its name as the container would.
func (c *Container) serverAddress(ctx context.Context, host string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a, nil
	}
	c.updating.Lock()
	servers := c.spec.DNS.Servers
	c.updating.Unlock()
	if len(servers) == 0 {
		servers = c.nics.dns()
	}
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	errs := []error{errors.New("its name cannot be resolved")}
	for _, s := range servers {
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(s, "53"))
		}}
		list, err := r.LookupNetIP(ctx, "ip", host)
		if err == nil && len(list) > 0 {
			return list[0].Unmap(), nil
		}
		errs = append(errs, err)
	}
	return netip.Addr{}, errors.Join(errs...)
}

// answers tells at once and clearly of a server that cannot be reached, which the
// kernel would try for minutes.
func answers(ctx context.Context, addr netip.Addr, options string) error {
	port := nfs.OptionPort(options)
	if port == 0 {
		port = nfsPort
		if !strings.Contains(options, "mountport=") {
			port = portmapPort
		}
	}
	ctx, cancel := context.WithTimeout(ctx, serverWait)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

// sealShares writes out what the servers have not got yet. One that does not
// answer must not keep the VM from ending: what it has not got is lost.
func (c *Container) sealShares() {
	if len(c.sharesOf) == 0 {
		return
	}
	done := make(chan error, len(c.sharesOf))
	for _, d := range c.sharesOf {
		c.goes(func() { done <- system.SyncFilesystem(d.dir) })
	}
	wait := time.NewTimer(sealWait)
	defer wait.Stop()
	for range c.sharesOf {
		select {
		case err := <-done:
			if err != nil {
				c.log.WithError(err).Warn("an NFS server has not taken all that was written")
			}
		case <-wait.C:
			c.sharesLost = true
			c.log.Warn("an NFS server does not answer: what it has not got is lost")
			return
		}
	}
}
