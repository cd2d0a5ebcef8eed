package engine

import (
	"errors"
	"sort"
	"strings"
)

// Treatment is what the engine does with one field of a create request.
type Treatment int

// The treatments. There is no fifth: a field that no treatment fits is a bug
// that a test finds.
const (
	// Honoured fields have the effect that Docker documents.
	Honoured Treatment = iota
	// Warned fields are kept and shown, and a warning says they have no effect.
	Warned
	// Refused fields make the create fail with ErrNotImplemented.
	Refused
	// Output fields are filled in by an engine and ignored in requests.
	Output
)

// Option says how one field of a create request is treated.
type Option struct {
	// Field is "Config.X", "HostConfig.X", "Endpoint.X" or of another object of
	// optionsother.go, with Docker's JSON name.
	Field string
	How   Treatment
	// Why is the message of a Warned or Refused field.
	Why string
	// Harmless tells values that need neither message (nil: only the zero value).
	Harmless func(v any) bool
}

const ownKernel = "a container is a virtual machine with a kernel of its own"

// Options gives the treatment of every field of the requests that make
// containers, networks and volumes.
func Options() []Option {
	return append(append(append(configOptions(), hostOptions()...), endpointOptions()...), otherOptions()...)
}

func honoured(prefix string, names ...string) []Option {
	out := make([]Option, 0, len(names))
	for _, n := range names {
		out = append(out, Option{Field: prefix + n, How: Honoured})
	}
	return out
}

func configOptions() []Option {
	return honoured("Config.",
		"Hostname", "Domainname", "User", "AttachStdin", "AttachStdout", "AttachStderr", "ExposedPorts", "Tty",
		"OpenStdin", "StdinOnce", "Env", "Cmd", "Image", "WorkingDir", "Entrypoint", "NetworkDisabled", "Labels",
		"StopSignal", "StopTimeout", "MacAddress", "Volumes", "Healthcheck",
		// These three have no effect on a Linux container in Docker either; they are kept and shown.
		"ArgsEscaped", "OnBuild", "Shell",
	)
}

func hostOptions() []Option {
	out := honoured("HostConfig.",
		"NetworkMode", "PortBindings", "PublishAllPorts", "Links", "RestartPolicy", "AutoRemove", "ConsoleSize", "Annotations", "CapAdd", "CapDrop", "Dns", "DnsOptions",
		"DnsSearch", "ExtraHosts", "GroupAdd", "Privileged", "ReadonlyRootfs", "Tmpfs", "ShmSize", "Sysctls", "CpuShares",
		"Memory", "MemoryReservation", "NanoCpus", "CpuPeriod", "CpuQuota", "CpuCount", "Ulimits", "PidsLimit", "OomScoreAdj",
		"ContainerIDFile",                                                                                   // the client writes it
		"LogConfig", "Mounts", "Binds", "VolumeDriver", "VolumesFrom", "StorageOpt", "Runtime", "Isolation", // values are checked in checkHost
		"UsernsMode",                                                        // only "" and "host" exist, and no user namespace is remapped
		"Init",                                                              // a containerVM always has an init that reaps
		"SecurityOpt", "IpcMode", "Devices", "MaskedPaths", "ReadonlyPaths", // values are checked in confine
	)
	return append(append(out, refusedHost()...), warnedHost()...)
}

func refusedHost() []Option {
	h := func(name, why string, harmless func(any) bool) Option {
		return Option{Field: "HostConfig." + name, How: Refused, Why: why, Harmless: harmless}
	}
	return []Option{
		h("Cgroup", "a shared cgroup: "+ownKernel, nil),
		h("PidMode", "a shared PID namespace (--pid): "+ownKernel, nil),
		h("UTSMode", "the host's UTS namespace (--uts): "+ownKernel, nil),
		h("DeviceCgroupRules", "device cgroup rules: "+ownKernel, nil),
		h("DeviceRequests", "device requests (--gpus): this version passes no devices through", nil),
		h("CpuRealtimePeriod", "CPU real-time scheduling (--cpu-rt-period)", nil),
		h("CpuRealtimeRuntime", "CPU real-time scheduling (--cpu-rt-runtime)", nil),
	}
}

func warnedHost() []Option {
	h := func(name, why string, harmless func(any) bool) Option {
		return Option{Field: "HostConfig." + name, How: Warned, Why: why, Harmless: harmless}
	}
	const blkio = "block IO limits have no effect: use vSphere Storage I/O Control"
	const windows = "has no effect on Linux"
	return []Option{
		h("CgroupnsMode", "the cgroup namespace mode has no effect: "+ownKernel, oneOf("private")),
		h("CgroupParent", "the cgroup parent has no effect: containers are grouped by the VCH's resource pool", nil),
		h("OomKillDisable", "disabling the OOM killer has no effect: cgroup v2, which guests have, cannot", nil),
		h("BlkioWeight", blkio, nil),
		h("BlkioWeightDevice", blkio, nil),
		h("BlkioDeviceReadBps", blkio, nil),
		h("BlkioDeviceWriteBps", blkio, nil),
		h("BlkioDeviceReadIOps", blkio, nil),
		h("BlkioDeviceWriteIOps", blkio, nil),
		h("CpusetCpus", "the number of CPUs in the set is the number of virtual CPUs; vSphere chooses the physical ones", nil),
		h("CpusetMems", "the memory nodes have no effect: vSphere chooses them", nil),
		h("KernelMemory", "the kernel memory limit has no effect", nil),
		h("KernelMemoryTCP", "the kernel TCP memory limit has no effect", nil),
		h("MemorySwap", "the swap limit has no effect: a containerVM has no swap", func(v any) bool { return v == float64(-1) }),
		h("MemorySwappiness", "the swappiness has no effect: a containerVM has no swap", func(v any) bool { return v == float64(-1) }),
		h("CpuPercent", "the CPU percentage "+windows, nil),
		h("IOMaximumIOps", "the IO limit "+windows, nil),
		h("IOMaximumBandwidth", "the IO limit "+windows, nil),
	}
}

func endpointOptions() []Option {
	e := func(name string, how Treatment, why string) Option {
		return Option{Field: "Endpoint." + name, How: how, Why: why}
	}
	return []Option{
		e("IPAMConfig", Honoured, ""), e("Links", Honoured, ""), e("Aliases", Honoured, ""), e("GwPriority", Honoured, ""),
		e("MacAddress", Honoured, ""), // within vSphere's range
		e("DriverOpts", Refused, whyDriverOpts),
		e("NetworkID", Output, ""), e("EndpointID", Output, ""), e("Gateway", Output, ""), e("IPAddress", Output, ""),
		e("IPPrefixLen", Output, ""), e("IPv6Gateway", Output, ""), e("GlobalIPv6Address", Output, ""),
		e("GlobalIPv6PrefixLen", Output, ""), e("DNSNames", Output, ""),
	}
}

// checkOptions goes over every field that is set: warnings for what has no
// effect, one error naming all that is refused.
func checkOptions(fields map[string]any) (warnings []string, err error) {
	var refused []error
	for _, o := range Options() {
		v, given := fields[o.Field]
		if !given || !isSet(v) || (o.Harmless != nil && o.Harmless(v)) {
			continue
		}
		switch o.How {
		case Warned:
			warnings = append(warnings, o.Why+" ("+shortField(o.Field)+")")
		case Refused:
			refused = append(refused, notImplemented("not supported: %s", o.Why))
		}
	}
	sort.Strings(warnings)
	return warnings, errors.Join(refused...)
}

func shortField(f string) string {
	_, name, _ := strings.Cut(f, ".")
	return name
}

// isSet tells whether a decoded JSON value holds anything but zeros.
func isSet(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		for _, e := range v {
			if isSet(e) {
				return true
			}
		}
		return false
	case map[string]any:
		// An object with keys counts even if the values are empty: {"/data":{}}.
		return len(v) > 0
	default:
		return true
	}
}

func oneOf(words ...string) func(any) bool {
	return func(v any) bool {
		for _, w := range words {
			if v == w {
				return true
			}
		}
		return false
	}
}
