// Package tether is PID 1 of both kinds of VM: its boot is a list of steps, one
// list for a containerVM (run one process, report its end, power off) and one
// for the appliance (bring up networks and the scratch disk, wait for secrets,
// keep vic-engine running). It owns the order of things and what happens when a
// step fails; the system calls are in package system, the process and the
// control line in package session.
//
// It must not know Docker or vSphere: what to do comes from guestinfo as a
// spec.Container or spec.VCH, and everything it reports goes back there.
//
// A container whose process shall not run is booted for its files alone
// (maintenance, files_linux.go).
//
// Start reading at Steps in steps_linux.go, then Boot in boot_linux.go. Networks that
// change while a container runs are update_linux.go, container networks trust_linux.go.
package tether
