package main

import "golang.org/x/sys/unix"

// kernelVersion is the release of the running kernel, which is also that of the
// containers: both images are made of one. Empty: it cannot be found out.
func kernelVersion() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
