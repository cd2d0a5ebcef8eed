package install

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// specNetwork is short for the vocabulary's type.
type specNetwork = spec.VCHNetwork

var errAlreadyExists = errdefs.ErrAlreadyExists

// concentratorPort is where containerVMs dial to (state.md, section 4).
const concentratorPort = 8080

// networks decides the appliance's NICs: external first, with the client and
// management roles on it, then the bridge.
func (r *resolver) networks() {
	ext := r.o.ExternalNetwork
	if ext == "" {
		ext = DefaultExternalNetwork
	}
	bridge := r.o.BridgeNetwork
	if bridge == "" && !r.c.VCenter {
		bridge = r.o.Name
	}
	external, ok := r.s.network(ext)
	switch {
	case !ok:
		r.is.choose(r.s.networkNames(func(n Network) bool { return n.Name != bridge }), "--external-network", "%q does not exist", ext)
	case external.Uplink:
		r.is.choose(r.s.networkNames(nil), "--external-network", "%q is an uplink port group, which VMs cannot use", ext)
	case r.c.VCenter && r.found && !r.sees(external.Hosts):
		r.is.choose(r.s.networkNames(nil), "--external-network", "%q is on no usable host of %s", ext, r.c.Compute.Path)
	}
	inside := r.bridge(bridge, external)
	r.c.NICs = []NIC{
		{Roles: []string{roleExternal, roleClient, roleManagement}, Network: external, Slot: firstSlot},
		{Roles: []string{roleBridge}, Network: inside, Slot: firstSlot + slotStep},
	}
	for _, n := range r.c.NICs {
		for _, role := range n.Roles {
			r.c.VCH.Networks[role] = spec.VCHNetwork{PortGroup: n.Network.Name}
		}
	}
}

func (r *resolver) bridge(name string, external Network) Network {
	usable := func(n Network) bool {
		return n.Name != external.Name && (!r.c.VCenter || n.Kind != Standard)
	}
	if name == "" {
		r.is.choose(r.s.networkNames(usable), "--bridge-network", "is missing: on vCenter, give a distributed port group that only this VCH uses")
		return Network{}
	}
	n, ok := r.s.network(name)
	switch {
	case !ok && r.c.VCenter:
		r.is.choose(r.s.networkNames(usable), "--bridge-network", "%q does not exist: on vCenter, make a distributed port group for it", name)
	case !ok:
		if err := checkName(name); err != nil || len(name) > maxName {
			r.is.addf("--bridge-network", "%q does not exist and cannot be made: up to %d characters, none of %s", name, maxName, forbiddenInName)
		}
		// On ESXi the bridge is a switch of its own without uplink.
		r.c.MakeBridge, r.c.MakeSwitch = true, !has(r.s.Switches, name)
		if !r.c.MakeSwitch {
			r.is.addf("--bridge-network", "%q cannot be made: a virtual switch of that name exists without such a port group", name)
		}
		r.c.VCH.CreatedPortGroup, r.c.VCH.CreatedSwitch = name, name
		return Network{Object: Object{Name: name}, Kind: Standard}
	case external.Name == n.Name:
		r.is.choose(r.s.networkNames(usable), "--bridge-network", "%q is the external network: the bridge must be one that only this VCH uses", name)
	case n.Uplink:
		r.is.choose(r.s.networkNames(usable), "--bridge-network", "%q is an uplink port group, which VMs cannot use", name)
	case r.c.VCenter && n.Kind == Standard:
		r.is.choose(r.s.networkNames(usable), "--bridge-network", "%q is no distributed port group: on vCenter, containers may run on any host of the cluster", name)
	case r.c.VCenter && r.found && !r.sees(n.Hosts):
		r.is.choose(r.s.networkNames(usable), "--bridge-network", "%q is on no usable host of %s", name, r.c.Compute.Path)
	}
	return n
}

// firewall tells whether the hosts let containerVMs dial the concentrator.
func (r *resolver) firewall() {
	if !r.found {
		return
	}
	var good []string
	for _, h := range r.c.Compute.Hosts {
		status := "DISABLED"
		if h.FirewallEnabled {
			status = "ENABLED"
		}
		r.say(fmt.Sprintf("Firewall status: %s on %s", status, h.Path))
		if !h.FirewallEnabled || h.SerialOut {
			good = append(good, h.Path)
			continue
		}
		r.is.addf("", "the firewall of %s blocks %d/tcp outbound, on which containers reach the VCH: enable its rule set remoteSerialPort (esxcli network firewall ruleset set -e true -r remoteSerialPort)", h.Path, concentratorPort)
	}
	if len(good) > 0 {
		r.say("Firewall configuration OK on hosts:")
		for _, p := range good {
			r.say("  " + p)
		}
	}
}

func (r *resolver) license() {
	if r.s.SerialLicense {
		r.say("License check OK")
		return
	}
	r.is.addf("", "the target has no licence with network serial ports (feature serialuri), which containers need: vSphere Enterprise Plus or an evaluation has it")
}

func (r *resolver) drs() {
	switch {
	case !r.found:
	case r.c.Standalone:
		r.say("DRS check SKIPPED - target is standalone host")
	case r.c.Compute.DRS:
		r.say("DRS check OK on:")
		r.say("  " + r.c.Compute.Path)
	default:
		r.warn("DRS is off on " + r.c.Compute.Path + ": the VCH gets no resource pool of its own, and --memory and --cpu have no effect")
	}
}
