// Package ext4 writes ext4 filesystems into files, in user space: no mount, no
// root, no mkfs.
//
// There are two kinds. WriteImage packs an image's joined layers into a
// compact filesystem without free space or journal, which kernels mount
// read-only; the writer below it is hcsshim's tar2ext4. WriteBlank makes an
// empty journaled filesystem to be written to, the upper side of a container's
// root; it is laid out like one of mke2fs's and takes a few hundred kilobytes
// on a thin disk.
//
// The package does not know what the disks are for, and never reads a
// filesystem that somebody else wrote.
//
// Start reading at WriteImage and WriteBlank.
package ext4
