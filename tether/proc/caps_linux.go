package proc

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

// capabilities by name, from linux/capability.h.
func capabilities() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
		"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
		"IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
		"SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
		"LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
		"WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
	}
}

// defaultCapabilities are what Docker leaves to a container's root.
func defaultCapabilities() []string {
	return []string{
		"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
		"SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
	}
}

// capabilitySet gives the capabilities of a process as bits by number, and
// whether all are kept.
func capabilitySet(p spec.Process) (set uint64, all bool, err error) {
	number := map[string]int{}
	for i, name := range capabilities() {
		number[name] = i
	}
	if p.Privileged {
		return 0, true, nil
	}
	for _, name := range defaultCapabilities() {
		set |= 1 << number[name]
	}
	add, addAll := names(p.CapAdd)
	drop, dropAll := names(p.CapDrop)
	switch { // ALL counts first: "drop ALL, add CHOWN" keeps CHOWN
	case addAll:
		set = 1<<len(capabilities()) - 1
	case dropAll:
		set = 0
	}
	for i, name := range append(add, drop...) {
		n, ok := number[name]
		if !ok {
			return 0, false, &spec.StartError{Code: spec.ExitRefused, Msg: fmt.Sprintf("unknown capability %q", "CAP_"+name)}
		}
		if i < len(add) {
			set |= 1 << n
		} else {
			set &^= 1 << n
		}
	}
	return set, false, nil
}

// SetsClock tells whether a process was given the computer's clock by name, SYS_TIME.
// Those that may do everything hardly ever mean it.
func SetsClock(p spec.Process) bool {
	add, _ := names(p.CapAdd)
	return slices.Contains(add, "SYS_TIME")
}

// names gives capabilities without prefix, and whether ALL is among them.
func names(list []string) (some []string, all bool) {
	for _, name := range list {
		name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if name == "ALL" {
			all = true
			continue
		}
		some = append(some, name)
	}
	return some, all
}

// limitThread takes capabilities out of the bounding set of the calling thread,
// which a child forked by it inherits: not even root of the child can have them.
// The thread is of no use for anything else then.
func limitThread(set uint64) error {
	for c := range 64 {
		if set&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // the kernel knows no more
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}
