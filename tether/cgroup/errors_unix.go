//go:build unix

package cgroup

import "syscall"

// What reading a group's processes may meet: a group that goes at that moment, and
// a threaded one, whose processes are those of the group above (cgroups(7)).
const (
	errNoDevice = syscall.ENODEV
	errThreaded = syscall.EOPNOTSUPP
)
