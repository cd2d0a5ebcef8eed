package install

import (
	"fmt"
	"io"
	"strings"
)

// Action is one kind of change or wait. What it does is in apply.go and
// remove.go.
type Action string

// The actions of create.
const (
	MakePool      Action = "make resource pool"
	MakeSwitch    Action = "make virtual switch"
	MakePortGroup Action = "make port group"
	MakeFolder    Action = "make VM folder"
	MakeImageDir  Action = "make image store folder"
	MakeAppliance Action = "make appliance VM"
	Upload        Action = "upload boot images"
	Configure     Action = "configure appliance"
	PowerOn       Action = "power on appliance"
	AwaitAddress  Action = "wait for the appliance's address"
	AwaitEngine   Action = "wait for the engine"
)

// Step is one thing to do: data, made by a plan.
type Step struct {
	Action Action
	// Object is what it is done to, for errors and for --dry-run.
	Object string
	// Log are the lines that are printed just before.
	Log []string
}

// Plan is what create does for a Config, in order. Pure.
func (c Config) Plan() []Step {
	var p []Step
	add := func(a Action, object string, log ...string) { p = append(p, Step{a, object, log}) }
	if c.OwnPool {
		add(MakePool, c.VCH.Pool, "Creating Resource Pool "+c.VCH.Name)
	}
	if c.MakeSwitch {
		add(MakeSwitch, c.VCH.CreatedSwitch, "Creating VirtualSwitch "+c.VCH.CreatedSwitch)
	}
	if c.MakeBridge {
		add(MakePortGroup, c.VCH.CreatedPortGroup, "Creating Portgroup "+c.VCH.CreatedPortGroup)
	}
	if c.VCenter {
		add(MakeFolder, c.VCH.Folder, "Creating the VCH folder "+c.VCH.Name)
	}
	if c.MakeDir != "" {
		add(MakeImageDir, c.VCH.ImageStore)
	}
	add(MakeAppliance, c.VCH.Name, append([]string{"Creating appliance on target"}, c.sharing()...)...)
	add(Upload, c.VCH.HomeDir, "Uploading images for container", "  "+bootstrapISO, "  "+applianceISO)
	add(Configure, c.VCH.Name)
	add(PowerOn, c.VCH.Name)
	add(AwaitAddress, c.VCH.Name, "Waiting for IP information")
	add(AwaitEngine, c.VCH.Name, "Waiting for major appliance components to launch")
	return p
}

// sharing tells which roles have no NIC of their own.
func (c Config) sharing() []string {
	var out []string
	for _, n := range c.NICs {
		for _, role := range n.Roles[1:] {
			out = append(out, fmt.Sprintf("Network role %s is sharing NIC with %s", role, n.Roles[0]))
		}
	}
	return out
}

// PrintPlan writes what --dry-run shows.
func PrintPlan(w io.Writer, steps []Step) error {
	var b strings.Builder
	b.WriteString("Plan (nothing is changed):\n")
	for i, s := range steps {
		fmt.Fprintf(&b, "%3d. %s: %s\n", i+1, s.Action, s.Object)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Report is what create says at the end. host is the address for Docker
// clients, without port. Pure.
func (c Config) Report(address string, t Endpoint) []string {
	lines := []string{
		"Initialization of appliance successful",
		"Log server:",
		"  " + t.adminURL(address),
	}
	lines = append(lines, t.environment(address)...)
	return append(lines, "Connect to docker:", "  "+t.command(address)+" info", "Installer completed successfully")
}
