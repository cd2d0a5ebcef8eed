// Package vmspec says what a containerVM is: the pure function from a
// spec.Container and the place where it is made to the VirtualMachineConfigSpec
// that vSphere creates. It does no I/O and decides nothing about when.
//
// Start reading at Build; the golden files in testdata show whole VMs.
package vmspec
