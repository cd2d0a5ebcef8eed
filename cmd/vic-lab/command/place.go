package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab/vnet"
)

const placeFile = "place.json"

// The first lab's ports.
const (
	firstAPI      = "127.0.0.1:8989"
	firstRegistry = "127.0.0.1:5000"
)

// place is where a lab is on this computer. Its state directory keeps it: VMs
// have leases of the subnet, and VCHs the addresses of API and registry.
type place struct {
	Subnet   netip.Prefix `json:"subnet"`
	API      string       `json:"api"`
	Registry string       `json:"registry,omitempty"`
}

func loadPlace(state string) (place, error) {
	var p place
	b, err := os.ReadFile(filepath.Join(state, placeFile))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(state, "mode")); err == nil {
			p.Subnet = vnet.Plan{}.Subnet() // of a lab from before there were others
		}
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("%s: %w", filepath.Join(state, placeFile), err)
	}
	return p, nil
}

func (p place) save(state string) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(state, placeFile), append(b, '\n'))
}

// taken is a place that this process has: nobody else gets it before the end.
type taken struct {
	plan     vnet.Plan
	claim    *vnet.Claim  // nil when guests' ports are not forwarded
	api      net.Listener // is closed by who serves on it
	registry net.Listener // as well; nil without a registry
}

// releaseRange gives the alias range back, once no port is forwarded any more.
func (t *taken) releaseRange() {
	if t.claim != nil {
		_ = t.claim.Close()
	}
}

// Close gives back what nobody else has closed.
func (t *taken) Close() {
	t.releaseRange()
	for _, l := range []net.Listener{t.api, t.registry} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// take finds the lab's place: what the options name, else what it had, else the
// first that is free. The place is kept for the next time.
func take(o *upOptions) (_ *taken, err error) {
	had, err := loadPlace(o.dir)
	if err != nil {
		return nil, err
	}
	t := &taken{}
	defer func() {
		if err != nil {
			t.Close()
		}
	}()
	if err := t.takeSubnet(o, had.Subnet); err != nil {
		return nil, err
	}
	if t.api, err = takePort("vSphere API", "--listen", o.listen, had.API, firstAPI); err != nil {
		return nil, err
	}
	has := place{Subnet: t.plan.Subnet(), API: t.api.Addr().String(), Registry: had.Registry}
	if !o.noRegistry {
		if t.registry, err = takePort("registry", "--registry-listen", o.registry, had.Registry, firstRegistry); err != nil {
			return nil, err
		}
		has.Registry = t.registry.Addr().String()
	}
	return t, has.save(o.dir)
}

func (t *taken) takeSubnet(o *upOptions, had netip.Prefix) (err error) {
	plan, err := vnet.NewPlan(had)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(o.dir, placeFile), err)
	}
	if o.subnet != "" {
		if plan, err = vnet.ParsePlan(o.subnet); err != nil {
			return fmt.Errorf("--subnet: %w", err)
		}
		if had.IsValid() && plan.Subnet() != had {
			return fmt.Errorf("--subnet %s: the lab in %s is on %s, and its VMs have addresses there: leave --subnet out, or begin a new lab with another --state: %w",
				o.subnet, o.dir, had, errdefs.ErrConflict)
		}
	}
	owner := "the lab in " + o.dir
	switch {
	case o.noForwards && (o.subnet != "" || had.IsValid()):
		t.plan = plan // two labs that forward nothing are in nobody's way
		return nil
	case o.subnet != "" || had.IsValid():
		t.plan = plan
		if t.claim, err = plan.Claim(owner); errdefs.IsConflict(err) {
			way := "name another --subnet, or none"
			if had.IsValid() {
				way = "this lab's VMs are on that subnet, so `vic-lab down` the other one first, or go without forwards with --no-forwards"
			}
			err = fmt.Errorf("%w: %s", err, way)
		}
	default:
		t.plan, t.claim, err = vnet.ClaimFree(owner)
	}
	return err
}

// takePort listens: where it is told to, or where it did before, or at the first
// lab's port, or at any free one when that is taken.
func takePort(what, flag, asked, had, first string) (net.Listener, error) {
	switch {
	case asked != "":
		if err := onLoopback(asked); err != nil {
			return nil, fmt.Errorf("%s %s: %w", flag, asked, err)
		}
		l, err := net.Listen("tcp", asked)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		return l, nil
	case had != "":
		l, err := net.Listen("tcp", had)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("%s: another program listens on %s, where this lab's VCHs look for it: end that one, or name another address with %s and create the VCHs anew: %w",
				what, had, flag, errdefs.ErrConflict)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		return l, nil
	}
	l, err := net.Listen("tcp", first)
	if errors.Is(err, syscall.EADDRINUSE) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return l, nil
}

// onLoopback: anybody who reaches the lab can try its password, and the registry
// has none.
func onLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil || !a.IsLoopback() {
		return fmt.Errorf("not a loopback address: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}
