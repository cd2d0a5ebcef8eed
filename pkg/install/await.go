package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/install/certs"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// What KeyEngineState says.
const (
	engineRunning = "RUNNING"
	engineFailed  = "FAILED"
)

// engineTries is how often the engine may fail before create gives up: it is
// started again when it ends, and may find vSphere only the second time.
const engineTries = 3

// failures counts how often the engine failed, from the states that were seen.
type failures struct {
	n      int
	reason string // of the last failure, in the engine's own words
	down   bool
}

// seen takes a state in, and tells whether that was one failure too many. One
// failure may be reported twice, by the engine and by what supervises it.
func (f *failures) seen(state string) bool {
	failed := strings.HasPrefix(state, engineFailed)
	if failed && !f.down {
		f.n++
		f.reason = strings.TrimLeft(strings.TrimPrefix(state, engineFailed), ": ")
	}
	f.down = failed
	return f.n >= engineTries
}

// pingEvery is how often the Docker API is asked while it does not answer.
const pingEvery = 300 * time.Millisecond

// applianceState is what vSphere tells of the appliance.
type applianceState struct {
	Power   types.VirtualMachinePowerState
	Tools   string
	Address string // IPv4 or IPv6 of the external NIC
	SealKey string
	Engine  string
	Tether  string // what its init is doing
}

// String is for errors: all that is known, in one line.
func (s applianceState) String() string {
	or := func(v, none string) string {
		if v == "" {
			return none
		}
		return v
	}
	power := map[types.VirtualMachinePowerState]string{
		types.VirtualMachinePowerStatePoweredOn:  "on",
		types.VirtualMachinePowerStatePoweredOff: "off",
		types.VirtualMachinePowerStateSuspended:  "suspended",
	}[s.Power]
	tools := "not running"
	if s.Tools == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		tools = "running"
	}
	text := fmt.Sprintf("state of the appliance: power %s, tools %s, IP address %s, engine %s",
		or(power, "unknown"), tools, or(s.Address, "none"), or(s.Engine, "not started"))
	if s.Tether != "" {
		text += ", boot " + s.Tether
	}
	return text
}

// watchedProps of the appliance. config.extraConfig is watched on this one VM
// alone; over many it would cost too much.
var watchedProps = []string{"runtime.powerState", "guest.toolsRunningStatus", "guest.ipAddress", "guest.net", "config.extraConfig"}

// watch waits until the appliance's state is as wanted. It is told of changes
// by vSphere and then reads the state, so that what happened before it began
// counts too. When ctx ends, or the appliance can't get there, the error says
// what it saw.
func (a *applier) watch(ctx context.Context, done func(applianceState) bool) error {
	var bad error
	check := func() bool {
		state, err := readAppliance(ctx, a.s, a.made)
		if err != nil {
			bad = err
			return true
		}
		if state != a.state {
			a.log.Debug(state)
		}
		a.state = state
		switch {
		case done(state):
			return true
		case state.Power == types.VirtualMachinePowerStatePoweredOff:
			bad = fmt.Errorf("the appliance powered itself off; %s: %w", state, errdefs.ErrAborted)
		case strings.HasPrefix(state.Tether, engineFailed):
			bad = fmt.Errorf("the appliance could not boot; %s: %w", state, errdefs.ErrAborted)
		case a.failed.seen(state.Engine):
			bad = fmt.Errorf("the engine could not start: %s: %w", a.failed.reason, errdefs.ErrAborted)
		}
		return bad != nil
	}
	err := property.Wait(ctx, property.DefaultCollector(a.s.Client()), a.made.VM, watchedProps, func([]types.PropertyChange) bool { return check() })
	if bad != nil && ctx.Err() == nil {
		return bad
	}
	if ctx.Err() != nil {
		return a.timedOut(ctx)
	}
	return vsphere.Classify(err)
}

// consoleTail is how much of the console a failed create shows, and
// consoleTimeout how long it may take to read.
const (
	consoleTail    = 20 // lines
	consoleTimeout = 10 * time.Second
)

// showConsole logs the end of the appliance's console: undoing deletes it. It
// works after ctx has ended.
func (a *applier) showConsole(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), consoleTimeout)
	defer cancel()
	r, _, err := a.ds.Get(ctx, a.made.HomeDir+"/"+consoleLog, 0)
	if err != nil {
		a.log.WithError(err).Debug("the appliance's console cannot be read")
		return
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		a.log.WithError(err).Debug("the appliance's console cannot be read")
	}
	lines := strings.FieldsFunc(string(b), func(r rune) bool { return r == '\n' || r == '\r' })
	if len(lines) == 0 {
		return
	}
	a.log.Warn("The end of the appliance's console:")
	for _, l := range lines[max(0, len(lines)-consoleTail):] {
		a.log.Warn("  " + printable(l))
	}
}

// printable takes control characters, which a terminal may obey, out of what a
// guest wrote.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// timedOut says what was seen last, and what the administrator can do.
func (a *applier) timedOut(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("interrupted; %s: %w", a.state, ctx.Err())
	}
	return fmt.Errorf("the appliance did not come up in time; %s: allow more with --timeout, or keep it for a look with --debug %d: %w", a.state, KeepOnTimeout, context.DeadlineExceeded)
}

// readAppliance reads the appliance's state.
func readAppliance(ctx context.Context, s *vsphere.Session, m Made) (applianceState, error) {
	var vm mo.VirtualMachine
	if err := property.DefaultCollector(s.Client()).RetrieveOne(ctx, m.VM, watchedProps, &vm); err != nil {
		return applianceState{}, vsphere.Classify(err)
	}
	st := applianceState{Power: vm.Runtime.PowerState}
	if vm.Guest != nil {
		st.Tools = vm.Guest.ToolsRunningStatus
		mac := ""
		if len(m.MACs) > 0 {
			mac = m.MACs[0]
		}
		st.Address = addressOf(vm.Guest, mac)
	}
	if vm.Config != nil {
		keys := keysOf(vm.Config.ExtraConfig)
		st.SealKey, st.Engine, st.Tether = keys[guestinfo.KeySealKey], keys[guestinfo.KeyEngineState], keys[guestinfo.KeyTetherState]
	}
	return st, nil
}

// addressOf is the first routable address of the NIC with mac, IPv4 before
// IPv6. guest.ipAddress may be that of the bridge, so it only counts when the
// guest does not tell its NICs apart.
func addressOf(g *types.GuestInfo, mac string) string {
	v6 := ""
	for _, n := range g.Net {
		if !strings.EqualFold(n.MacAddress, mac) {
			continue
		}
		for _, text := range n.IpAddress {
			ip := net.ParseIP(text)
			switch {
			case ip == nil || ip.IsLinkLocalUnicast() || ip.IsUnspecified():
			case ip.To4() != nil:
				return text
			case v6 == "":
				v6 = text
			}
		}
	}
	if v6 == "" && len(g.Net) == 0 {
		if ip := net.ParseIP(g.IpAddress); ip != nil && !ip.IsLinkLocalUnicast() {
			return g.IpAddress
		}
	}
	return v6
}

func keysOf(extra []types.BaseOptionValue) map[string]string {
	out := make(map[string]string, len(extra))
	for _, o := range extra {
		v := o.GetOptionValue()
		if s, ok := v.Value.(string); ok {
			out[v.Key] = s
		}
	}
	return out
}

// Dialer opens a TCP connection; net.Dialer's DialContext is one.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// pinger asks the Docker API of an endpoint whether it is there, again and
// again until ctx ends. Only the server that shows the endpoint's own
// certificate counts.
func (e Endpoint) pinger(dial Dialer) (func(ctx context.Context, address string) error, error) {
	tr := &http.Transport{DialContext: dial, DisableKeepAlives: true}
	scheme := "http"
	if !e.Off {
		cfg, err := certs.Pinned(e.Server.Cert, e.Client)
		if err != nil {
			return nil, err
		}
		tr.TLSClientConfig, scheme = cfg, "https"
	}
	client := &http.Client{Transport: tr}
	return func(ctx context.Context, address string) error {
		url := scheme + "://" + net.JoinHostPort(address, e.port()) + "/_ping"
		t := time.NewTicker(pingEvery)
		defer t.Stop()
		var last error
		for {
			if err := ping(ctx, client, url); err == nil {
				return nil
			} else if ctx.Err() == nil || last == nil {
				last = err
			}
			if errors.Is(last, certs.ErrOther) {
				return last
			}
			select {
			case <-ctx.Done():
				return last
			case <-t.C:
			}
		}
	}, nil
}

func ping(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s: %w", url, res.Status, errdefs.ErrUnavailable)
	}
	return nil
}
