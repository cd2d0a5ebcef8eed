package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// Mode says what the lab is.
type Mode string

const (
	ModeESXi    Mode = "esxi"    // one standalone host
	ModeVCenter Mode = "vcenter" // a datacenter with a cluster and a distributed switch
)

// Config is what a Lab is made of.
type Config struct {
	Mode Mode // default ModeESXi
	// StateDir holds everything that outlives the process. It belongs to one
	// running lab at a time.
	StateDir string
	// Listen is a loopback address and port of the API; default 127.0.0.1:8989.
	Listen string
	// Listener is open already and takes the place of Listen; Run closes it.
	Listener net.Listener
	// User and Password of the administrator. Default: root or
	// administrator@vsphere.local, and a random password made once for the
	// state directory and kept in its file "password".
	User, Password string
	// Hypervisor runs the VMs.
	Hypervisor machine.Hypervisor
	// Datastores by name; default mydatastore and datastore2. Each is the
	// directory StateDir/datastores/NAME.
	Datastores []string
	// DatastoreCapacity limits each datastore's bytes on disk; 0: what the
	// file system has.
	DatastoreCapacity int64
	// Networks are the port groups (in vCenter mode, of the distributed switch)
	// that a new lab has; default "VM Network" and "VCH Bridge".
	Networks []string
	// ManagementIP is the address the lab reports of itself to vSphere clients,
	// as guests reach it; default 10.118.0.2. It may differ at each start.
	ManagementIP netip.Addr
	// ShownAddress turns a guest's address on a network into the one vSphere
	// clients shall see; default: 10.118.0.N of VM Network is 127.118.0.N.
	ShownAddress func(network string, a netip.Addr) netip.Addr
	// Published is told of the ports that a running VM publishes, as its guest
	// wrote them to guestinfo..ports, with the addresses of its NICs: at each
	// change, and with "" when the VM is off. Nil: nobody wants to know. It is
	// not called for two changes at once.
	Published func(macs []string, ports string)
	// Security is told of the security policy of each port group, at the start
	// and at each change. Nil: nobody wants to know.
	Security func(portGroup string, s Security)
	// TaskRetention is how long finished tasks can be read; default 10 minutes.
	TaskRetention time.Duration
	// SessionTimeout ends sessions without a call for that long; default 30
	// minutes, as vCenter has it.
	SessionTimeout time.Duration
	// SaveDelay is how long after a change the inventory is saved, so that a
	// burst is saved once; default 500 ms.
	SaveDelay time.Duration
	Log       *logrus.Entry
}

func (c *Config) complete() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf(format+": %w", append(args, errdefs.ErrInvalidArgument)...))
	}
	if c.Mode == "" {
		c.Mode = ModeESXi
	}
	if c.Mode != ModeESXi && c.Mode != ModeVCenter {
		bad("mode %q, want %s or %s", c.Mode, ModeESXi, ModeVCenter)
	}
	if c.StateDir == "" {
		bad("no state directory")
	}
	if c.Hypervisor == nil {
		bad("no hypervisor")
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:8989"
	}
	if c.Listener != nil {
		c.Listen = c.Listener.Addr().String()
	}
	if !loopback(c.Listen) {
		bad("listen address %s is not a loopback address", c.Listen)
	}
	if c.User == "" {
		c.User = "root"
		if c.Mode == ModeVCenter {
			c.User = "administrator@vsphere.local"
		}
	}
	if len(c.Datastores) == 0 {
		c.Datastores = []string{"mydatastore", "datastore2"}
	}
	for _, d := range c.Datastores {
		if !plainName(d) {
			bad("datastore name %q", d)
		}
	}
	if len(c.Networks) == 0 {
		c.Networks = []string{"VM Network", "VCH Bridge"}
	}
	if !c.ManagementIP.IsValid() {
		c.ManagementIP = netip.AddrFrom4([4]byte{10, 118, 0, 2})
	}
	if c.ShownAddress == nil {
		c.ShownAddress = shownAddress
	}
	if c.TaskRetention <= 0 {
		c.TaskRetention = 10 * time.Minute
	}
	if c.SessionTimeout <= 0 {
		c.SessionTimeout = 30 * time.Minute
	}
	if c.SaveDelay <= 0 {
		c.SaveDelay = 500 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	return errors.Join(errs...)
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// plainName is a name that is one path element and needs no quoting.
func plainName(s string) bool {
	if s == "" || s[0] == '.' || len(s) > 80 {
		return false
	}
	for _, c := range s {
		if c < 0x20 || c == '/' || c == '\\' || c == '[' || c == ']' || c == 0x7f {
			return false
		}
	}
	return true
}

// shownAddress: the host can't route to 10.118.0.0/24 without root, so each
// address is forwarded from a loopback one.
func shownAddress(network string, a netip.Addr) netip.Addr {
	if b := a.Unmap(); network == "VM Network" && b.Is4() {
		if x := b.As4(); x[0] == 10 && x[1] == 118 && x[2] == 0 {
			x[0] = 127
			return netip.AddrFrom4(x)
		}
	}
	return a
}
