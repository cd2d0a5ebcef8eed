// Package machine is the border between the lab's simulated vSphere and its
// hypervisor: what a VM's hardware is, in terms of this computer's files, and
// what a running VM reports back. It has no behaviour.
//
// Start reading at Machine and Hypervisor.
package machine
