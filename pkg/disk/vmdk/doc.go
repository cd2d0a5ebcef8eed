// Package vmdk writes and reads streamOptimized VMDKs: the form of a virtual
// disk that vSphere takes by an NFC import, compressed and without the empty
// parts, in one forward stream.
//
// It knows nothing of filesystems or of vSphere. The layout is that of VMware's
// "Virtual Disk Format 5.0" technical note: sparse extent header, embedded
// descriptor, grains each behind a marker, grain tables, grain directory,
// footer, end-of-stream marker.
//
// Start reading at Write and NewReader.
package vmdk
