// Package exec runs containers: one Controller per containerVM, which makes the
// VM, starts, stops and removes it, joins clients to its process, and knows its
// state without asking vSphere.
//
// Two things tell it what happened: the VM as portlayer/events had it read, and
// what the guest reports on its line. The VM's power state decides: a container
// runs when its VM is on, and has exited when the VM is off; reports only make
// that faster and richer. Nothing is kept outside the VMs: after a restart every
// Controller is made again from what Sync reads.
//
// Files of a container that does not run are served by its VM, turned on without
// the process: maintenance.go.
//
// It must not know Docker, and decides nothing about when to read VMs.
//
// Start reading at next in state.go, then Manager.
package exec
