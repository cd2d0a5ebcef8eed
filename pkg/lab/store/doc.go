// Package store keeps the bytes of the lab's virtual disks: real VMDKs in
// directories, which QEMU opens as they are.
//
// A disk is a text descriptor "x.vmdk" (createType "vmfs") and one sparse extent
// "x-flat.vmdk"; a child disk is QEMU's monolithicSparse file with a
// parentFileNameHint. Copies keep holes. No other program is needed, but for
// child disks, which qemu-img makes and flattens.
//
// It must not know vSphere: paths are files of this computer, errors are
// errdefs classes, and the caller says who may do what.
//
// Start reading at Create and Descriptor.
package store
