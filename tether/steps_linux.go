package tether

import (
	"context"

	"github.com/vic-engine/vic/pkg/guestinfo"
)

func step[T any](name string, fn func(T, context.Context) error) Step[T] {
	return Step[T]{Name: name, Run: func(ctx context.Context, on T) error { return fn(on, ctx) }}
}

func optional[T any](s Step[T]) Step[T] {
	s.Optional = true
	return s
}

// earlySteps are the same in every VM: until the configuration can be read, it
// isn't known which kind this is.
func earlySteps() []Step[*VM] {
	return []Step[*VM]{
		step("kernel filesystems", (*VM).kernelFilesystems),
		step("kernel modules", (*VM).modules),
		step("guest RPC", (*VM).guestRPC),
		step("kind of VM", (*VM).readKind),
		step("reaper", (*VM).startReaper),
	}
}

// containerSteps end when the root is ready for the process. The control line
// comes first, so that the engine's handshake runs while disks are mounted.
func containerSteps() []Step[*Container] {
	return []Step[*Container]{
		step("configuration", (*Container).configuration),
		step("control line", (*Container).line),
		step("hostname", (*Container).hostname),
		step("network", (*Container).network),
		step("disks", (*Container).disks),
		step("control group", (*Container).controlGroup),
		step("root", (*Container).root),
		step("volumes", (*Container).volumes),
		step("addresses", (*Container).addresses),
		step("devices", (*Container).devices),
		step("host files", (*Container).hostFiles), // the last to change the root, which it may seal
		step("kernel parameters", (*Container).sysctls),
		step("system paths", (*Container).systemPaths),
		step("tools", (*Container).startTools),
		step("shares", (*Container).shares), // last: it may wait for a server, and be stopped meanwhile
	}
}

// applianceSteps end when vic-engine runs and is watched. Networks and tools
// come first: an administrator sees an address even when the rest fails.
func applianceSteps() []Step[*Appliance] {
	return []Step[*Appliance]{
		step("configuration", (*Appliance).configuration),
		step("hostname", (*Appliance).hostname),
		step("networks", (*Appliance).networks),
		step("tools", (*Appliance).startTools),
		step("scratch disk", (*Appliance).scratch),
		step("seal key", (*Appliance).sealKey),
		step("guest RPC for others", (*Appliance).serveRPC),
		optional(step("late modules", func(a *Appliance, ctx context.Context) error { return a.lateModules(ctx) })),
		step("forwarding", (*Appliance).forwarding),
		optional(step("debugging", (*Appliance).debugging)),
		step("addresses", (*Appliance).addresses),
		step("secrets", (*Appliance).secrets),
		step("engine", (*Appliance).engine),
	}
}

// Steps names the boot of one kind of VM, in order: for documentation and tests.
func Steps(kind string) []string {
	var names []string
	for _, s := range earlySteps() {
		names = append(names, s.Name)
	}
	switch kind {
	case guestinfo.KindContainer:
		for _, s := range containerSteps() {
			names = append(names, s.Name)
		}
		names = append(names, "process")
	case guestinfo.KindAppliance:
		for _, s := range applianceSteps() {
			names = append(names, s.Name)
		}
	}
	return names
}
