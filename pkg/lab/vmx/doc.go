// Package vmx is the text form of a VM's configuration, the .vmx file, written
// and read the way ESXi does: state.md section 2 names the lines that matter.
//
// It is pure: FromVM renders a managed object's configuration, ToSpec turns a
// file back into a spec that creates the same VM, Encode and Decode are the
// text. It must not touch files, and knows datastores by name only.
//
// Start reading at FromVM.
package vmx
