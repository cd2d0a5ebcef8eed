package engine

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/go-units"
)

const (
	mib = 1 << 20
	// memoryStepMB is what vSphere wants the memory of a VM to be a multiple of.
	memoryStepMB = 4
	// minMemoryBytes is Docker's own lower limit.
	minMemoryBytes = 6 * mib
	// defaultCPUPeriod is the kernel's, in microseconds.
	defaultCPUPeriod = 100000
)

// buildInput is all that build needs besides the request: it reads nothing else.
type buildInput struct {
	ID, Name string
	Image    spec.Image
	Networks []spec.Network
	// MHzPerCPU turns a fraction of a CPU into a limit; 0 is unknown.
	MHzPerCPU int64
	// Find resolves a container, for links; PortsInUse are the host ports of the
	// others ("80/tcp"). nil: there are none.
	Find       func(ref string) (spec.View, error)
	PortsInUse func() map[string]bool
}

func (in buildInput) find(ref string) (spec.View, error) {
	if in.Find == nil {
		return spec.View{}, noSuchContainer(ref)
	}
	return in.Find(ref)
}

func (in buildInput) portsInUse() map[string]bool {
	if in.PortsInUse == nil {
		return nil
	}
	return in.PortsInUse()
}

// build makes the container of a request whose Config is merged already. It
// is pure. All problems are reported together.
func build(r *Request, in buildInput) (spec.Container, []string, error) {
	c, h := &r.Config, &r.HostConfig
	hostname := c.Hostname
	if hostname == "" {
		hostname = in.ID[:12]
		c.Hostname = hostname
	}
	prog, args := commandLine(*c)
	out := spec.Container{
		ID: in.ID, Name: in.Name, Repo: c.Image, ImageID: in.Image.ID, Layers: in.Image.Layers,
		Hostname: hostname, Domainname: c.Domainname, Labels: c.Labels,
		DNS:   spec.DNS{Servers: h.DNS, Search: h.DNSSearch, Options: h.DNSOptions},
		Hosts: h.ExtraHosts,
		Process: spec.Process{
			Path: prog, Args: args, Env: processEnv(c.Env, hostname, c.Tty), Dir: c.WorkingDir, User: c.User, Groups: h.GroupAdd,
			TTY: c.Tty, OpenStdin: c.OpenStdin, StdinOnce: c.StdinOnce,
			Attach:     c.AttachStdin || c.AttachStdout || c.AttachStderr,
			StopSignal: c.StopSignal, Rows: h.ConsoleSize[0], Cols: h.ConsoleSize[1],
			Privileged: h.Privileged, CapAdd: h.CapAdd, CapDrop: h.CapDrop,
		},
		Root: spec.Root{ReadOnly: h.ReadonlyRootfs, ShmSizeBytes: h.ShmSize, Sysctls: h.Sysctls},
	}
	var warnings []string
	var errs []error
	note := func(w []string, err error) {
		warnings = append(warnings, w...)
		errs = append(errs, err)
	}
	var w []string
	var err error
	out.Resources, w, err = resources(h, in.MHzPerCPU)
	note(w, err)
	out.Limits, err = limits(h)
	note(nil, err)
	out.Process.Rlimits, err = rlimits(h.Ulimits)
	note(nil, err)
	out.Root.SizeMB, err = rootSize(h.StorageOpt)
	note(nil, err)
	out.Mounts, err = tmpfsMounts(h)
	note(nil, err)
	var links []string
	out.Endpoints, links, w, err = endpoints(r, in)
	note(w, err)
	out.Hosts = append(append([]string(nil), h.ExtraHosts...), links...)
	w, err = confine(h, &out)
	note(w, err)
	w, err = checkLog(h.LogConfig)
	note(w, err)
	out.NoLog = h.LogConfig.Type == noLog
	note(nil, checkHost(r))
	return out, warnings, errors.Join(errs...)
}

func resources(h *HostConfig, mhz int64) (spec.Resources, []string, error) {
	var warnings []string
	res := spec.Resources{CPUShares: h.CPUShares}
	if h.Memory != 0 {
		if h.Memory < minMemoryBytes {
			return res, nil, invalid("Minimum memory limit allowed is 6MB")
		}
		res.MemoryMB = roundUp(h.Memory, memoryStepMB*mib) / mib
		if res.MemoryMB < spec.MinMemoryMB {
			res.MemoryMB = spec.MinMemoryMB
			warnings = append(warnings, fmt.Sprintf("a containerVM needs %d MiB of memory to boot and has no less; inside it the limit is as given", spec.MinMemoryMB))
		}
	}
	if h.MemoryReservation != 0 {
		if h.MemoryReservation < minMemoryBytes {
			return res, nil, invalid("Minimum memory reservation allowed is 6MB")
		}
		if h.Memory != 0 && h.Memory < h.MemoryReservation {
			return res, nil, invalid("Minimum memory limit can not be less than memory reservation limit, see usage")
		}
		res.ReservationMB = roundUp(h.MemoryReservation, mib) / mib
	}
	if h.MemorySwap > 0 && h.Memory == 0 {
		return res, nil, invalid("You should always set the Memory limit when using Memoryswap limit, see usage")
	}
	if h.MemorySwap > 0 && h.MemorySwap < h.Memory {
		return res, nil, invalid("Minimum memoryswap limit should be larger than memory limit, see usage")
	}
	cpus, err := cpuCount(h)
	if err != nil {
		return res, nil, err
	}
	whole := int(math.Ceil(cpus))
	res.CPUs = whole
	if frac := cpus - math.Floor(cpus); frac > 1e-9 {
		// The guest holds the processes to the fraction (limits.go); vSphere, where
		// it tells the speed of its CPUs, the whole VM to about as much.
		res.CPULimitMHz = int64(math.Ceil(cpus * float64(mhz)))
	}
	return res, warnings, nil
}

// cpuCount is the number of CPUs asked for, 0 for the default. --cpus,
// --cpu-quota, --cpu-count and --cpuset-cpus exclude each other here.
func cpuCount(h *HostConfig) (float64, error) {
	switch {
	case h.NanoCPUs < 0:
		return 0, invalid("range of CPUs is from 0.01: %d NanoCpus", h.NanoCPUs)
	case h.NanoCPUs > 0 && (h.CPUQuota > 0 || h.CPUPeriod > 0):
		return 0, invalid("Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set")
	case h.CPUPeriod != 0 && (h.CPUPeriod < 1000 || h.CPUPeriod > 1000000):
		return 0, invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
	case h.CPUQuota > 0 && h.CPUQuota < 1000:
		return 0, invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)")
	case h.CPUShares < 0:
		return 0, invalid("shares can not be negative: %d", h.CPUShares)
	case h.CPUCount < 0 || h.CPUCount > 1024:
		return 0, invalid("invalid CPU count: %d", h.CPUCount)
	case h.NanoCPUs > 0:
		return float64(h.NanoCPUs) / 1e9, nil
	case h.CPUQuota > 0:
		period := h.CPUPeriod
		if period == 0 {
			period = defaultCPUPeriod
		}
		return float64(h.CPUQuota) / float64(period), nil
	case h.CPUCount > 0:
		return float64(h.CPUCount), nil
	case h.CpusetCpus != "":
		n, err := cpusetSize(h.CpusetCpus)
		return float64(n), err
	}
	return 0, nil
}

// cpusetSize counts the CPUs of a set such as "0-2,4".
func cpusetSize(set string) (int, error) {
	seen := map[int]bool{}
	for _, part := range strings.Split(set, ",") {
		from, to, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(strings.TrimSpace(from))
		b := a
		if err == nil && ranged {
			b, err = strconv.Atoi(strings.TrimSpace(to))
		}
		if err != nil || a < 0 || b < a || b > 1023 {
			return 0, invalid("Invalid value %s for cpuset cpus", set)
		}
		for ; a <= b; a++ {
			seen[a] = true
		}
	}
	return len(seen), nil
}

func roundUp(n, step int64) int64 { return (n + step - 1) / step * step }

func rlimits(list []Ulimit) (map[string]spec.Rlimit, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make(map[string]spec.Rlimit, len(list))
	for _, u := range list {
		if _, err := (&units.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard}).GetRlimit(); err != nil {
			return nil, invalid("%v", err)
		}
		if u.Hard != -1 && u.Soft > u.Hard {
			return nil, invalid("ulimit soft limit must be less than or equal to hard limit: %d > %d", u.Soft, u.Hard)
		}
		out[u.Name] = spec.Rlimit{Soft: u.Soft, Hard: u.Hard}
	}
	return out, nil
}

// rootSize is --storage-opt size, in MiB.
func rootSize(opts map[string]string) (int64, error) {
	for k, v := range opts {
		if !strings.EqualFold(k, "size") {
			return 0, invalid("unknown option %s for --storage-opt: want size", k)
		}
		n, err := units.RAMInBytes(v)
		if err != nil || n <= 0 {
			return 0, invalid("invalid storage size %q", v)
		}
		return roundUp(n, mib) / mib, nil
	}
	return 0, nil
}
