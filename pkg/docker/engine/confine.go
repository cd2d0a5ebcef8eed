package engine

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// DeviceRequest is one --device.
type DeviceRequest struct {
	PathOnHost, PathInContainer, CgroupPermissions string
}

// DefaultMaskedPaths and DefaultReadonlyPaths are what a container that is not
// privileged may not see and not write, as inspect shows them: Docker's
// (oci/defaults.go). The guest has the same lists.
func DefaultMaskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

// DefaultReadonlyPaths: see DefaultMaskedPaths.
func DefaultReadonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// confine fills in what keeps the container's processes from things inside of
// their VM: security options, hidden paths, devices, IPC.
func confine(h *HostConfig, c *spec.Container) (warnings []string, err error) {
	var errs []error
	c.Process.NoNewPrivileges, err = securityOptions(h.SecurityOpt)
	errs = append(errs, err, systemPaths(h, &c.Root))
	switch kind, _, _ := strings.Cut(h.IpcMode, ":"); kind {
	case "", "private", "shareable":
	case "none":
		c.Root.NoShm = true
	case "host", "container":
		errs = append(errs, notImplemented("not supported: a shared IPC namespace (--ipc %s): %s", h.IpcMode, ownKernel))
	default:
		errs = append(errs, invalid("invalid IPC mode: %v", h.IpcMode))
	}
	devices, warnings, err := devices(h.Devices)
	c.Root.Devices = devices
	return warnings, errors.Join(append(errs, err)...)
}

// securityOptions reads --security-opt. What would narrow a container by a profile
// is refused: it would seem safe and not be.
func securityOptions(list []string) (noNewPrivileges bool, err error) {
	var errs []error
	for _, o := range list {
		k, v, ok := strings.Cut(o, "=")
		if !ok {
			k, v, ok = strings.Cut(o, ":")
		}
		if o == "no-new-privileges" || o == "writable-cgroups" {
			k, v, ok = o, "true", true
		}
		if o == "disable" {
			k, v, ok = "label", o, true
		}
		profile := func(none string) {
			if v != none {
				errs = append(errs, notImplemented("not supported: %s (--security-opt): a containerVM has no %s profile to apply; %s=%s is what it has", o, k, k, none))
			}
		}
		switch {
		case !ok:
			errs = append(errs, invalid("invalid --security-opt 1: %q", o))
		case k == "label":
			profile("disable")
		case k == "apparmor", k == "seccomp":
			profile("unconfined")
		case k == "no-new-privileges", k == "writable-cgroups":
			on, err := strconv.ParseBool(v)
			switch {
			case err != nil:
				errs = append(errs, invalid("invalid --security-opt 2: %q", o))
			case k == "no-new-privileges":
				noNewPrivileges = on
			case on:
				errs = append(errs, notImplemented("not supported: writable-cgroups (--security-opt): the control groups are read-only but for privileged containers"))
			}
		default:
			errs = append(errs, invalid("invalid --security-opt 2: %q", o))
		}
	}
	return noNewPrivileges, errors.Join(errs...)
}

// systemPaths takes over lists of the user's own, where there are any and the
// container is not privileged.
func systemPaths(h *HostConfig, r *spec.Root) error {
	masked, readOnly := h.MaskedPaths, h.ReadonlyPaths
	if h.Privileged || masked == nil && readOnly == nil {
		return nil
	}
	if masked == nil {
		masked = DefaultMaskedPaths()
	}
	if readOnly == nil {
		readOnly = DefaultReadonlyPaths()
	}
	for _, p := range append(slices.Clone(masked), readOnly...) {
		if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
			return invalid("invalid masked or read-only path %q: must be absolute", p)
		}
	}
	if slices.Equal(masked, DefaultMaskedPaths()) && slices.Equal(readOnly, DefaultReadonlyPaths()) {
		return nil
	}
	r.OwnPaths, r.MaskedPaths, r.ReadonlyPaths = true, masked, readOnly
	return nil
}

func devices(list []DeviceRequest) (out, warnings []string, err error) {
	var errs []error
	for _, d := range list {
		if _, ok := spec.VMDevice(d.PathOnHost); !ok {
			errs = append(errs, notImplemented("not supported: device %s (--device): a containerVM has none of its host's; it has /dev/fuse, /dev/net/tun, /dev/loop-control, /dev/loop0 to /dev/loop255 and /dev/kmsg", d.PathOnHost))
			continue
		}
		inside := d.PathInContainer
		if inside == "" {
			inside = d.PathOnHost
		}
		switch {
		case !path.IsAbs(inside) || path.Clean(inside) == "/" || strings.ContainsAny(inside, ":\x00"):
			errs = append(errs, invalid("invalid path of device %s in the container: %q", d.PathOnHost, inside))
			continue
		case strings.Trim(d.CgroupPermissions, "rwm") != "":
			errs = append(errs, invalid("invalid permissions of device %s: %q: want some of rwm", d.PathOnHost, d.CgroupPermissions))
			continue
		case d.CgroupPermissions != "" && (!strings.Contains(d.CgroupPermissions, "r") || !strings.Contains(d.CgroupPermissions, "w")):
			warnings = append(warnings, fmt.Sprintf("the permissions %s of device %s have no effect: who may open it may read and write (Devices)", d.CgroupPermissions, d.PathOnHost))
		}
		text := d.PathOnHost
		if inside != text {
			text += ":" + path.Clean(inside)
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out, warnings, errors.Join(errs...)
}
