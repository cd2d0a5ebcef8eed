// Package e2e holds the end-to-end tests: the programs as built by make, the
// real docker client, real VMs on QEMU, in both modes of the lab. The tests are
// txtar scripts in testdata, one subject a file; the Go side starts a lab,
// creates a VCH with vic-machine, and gives the scripts a few commands.
//
// It needs the build tag e2e, and what `make build isos` builds.
//
// Start reading at TestESXi, then any script.
package e2e
