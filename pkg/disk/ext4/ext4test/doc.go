// Package ext4test reads files out of an ext4 filesystem, as much as tests need
// to see that what was written is there. It is not for production: it follows
// no symlink and trusts the filesystem.
//
// Start reading at ReadFile.
package ext4test
