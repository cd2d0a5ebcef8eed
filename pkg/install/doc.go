// Package install is the work of vic-machine: it makes, lists and removes
// Virtual Container Hosts. Creating goes in three parts that do not mix: what
// the target has is read into a Site; Resolve (pure) checks the options
// against it, gathers every problem, and gives a Config; the plan of a Config
// is data, and apply runs it with an undo stack, so that a failed create
// leaves the inventory, the datastores and the networks as they were.
//
// It must not touch a VM that the VCH in question does not own (see owned.go),
// nor let a password or key reach a log, an error or a VMX in clear. It runs
// on a workstation of any OS and keeps nothing there but certificates.
//
// Start reading at Create in create.go; the counterpart is Delete.
package install
