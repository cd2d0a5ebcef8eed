// Package guestinfo is the codec between the vocabulary of pkg/spec and the
// keys of a VM's configuration (extraConfig, the .vmx file, and guestinfo as a
// guest reads it). It is pure: maps and functions in, maps and structs out. It
// must not talk to vSphere or to the hypervisor; pkg/guestinfo/rpci does that
// inside a VM and pkg/vsphere outside.
//
// A key has one of three forms:
//
//	guestinfo./a/b   map entry guestinfo./a|key/b   read-only for the guest
//	guestinfo..a.b   map entry guestinfo..a|key.b   written by the guest
//	vic./a/b         map entry vic./a|key/b         hidden from the guest
//
// A key exists only when its field is set. Scalars are plain text (a JSON string
// when plain text would not survive, see value.go), lists and maps one JSON
// value. Every keyed collection has an index (guestinfo./sessions = ["…"]), so
// that a guest that can only ask for a key by name can walk it. Keys lists every
// key there is.
//
// Start reading at EncodeContainer; the fields and their keys are the tables in
// container.go and vch.go.
package guestinfo
