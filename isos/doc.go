// Package isos makes the two bootable CD images: bootstrap.iso, from which
// every containerVM starts, and appliance.iso, the VCH appliance. A Manifest
// (data) says what an image holds; Files resolves it against Debian packages
// and our own binaries; Initramfs and WriteISO turn the result into bytes.
//
// The same inputs give the same bytes: nothing here reads the clock, the
// building machine's own files or a random source, and files come only from
// the packages named by the manifests. It must not know what runs inside the
// images beyond their paths.
//
// Start reading at Manifest, then Build.
package isos
