package spec

import (
	"strconv"
	"strings"
)

// Device is a device that any containerVM has, since its kernel makes it.
type Device struct {
	Path         string
	Block        bool
	Major, Minor uint32 // Documentation/admin-guide/devices.txt
	// Needs names what the kernel must have for it; empty: it always does.
	Needs string
}

// What devices need of the kernel.
const (
	NeedsFuse = "fuse"
	NeedsTun  = "tun"
	NeedsLoop = "loop"
)

// maxLoop bounds the numbers of loop devices.
const maxLoop = 255

// VMDevice finds a device by its path; ok is false when no containerVM has it.
func VMDevice(path string) (d Device, ok bool) {
	for _, d := range []Device{
		{Path: "/dev/fuse", Major: 10, Minor: 229, Needs: NeedsFuse},
		{Path: "/dev/net/tun", Major: 10, Minor: 200, Needs: NeedsTun},
		{Path: "/dev/loop-control", Major: 10, Minor: 237, Needs: NeedsLoop},
		{Path: "/dev/null", Major: 1, Minor: 3},
		{Path: "/dev/zero", Major: 1, Minor: 5},
		{Path: "/dev/full", Major: 1, Minor: 7},
		{Path: "/dev/random", Major: 1, Minor: 8},
		{Path: "/dev/urandom", Major: 1, Minor: 9},
		{Path: "/dev/kmsg", Major: 1, Minor: 11},
	} {
		if d.Path == path {
			return d, true
		}
	}
	number, isLoop := strings.CutPrefix(path, "/dev/loop")
	n, err := strconv.ParseUint(number, 10, 16)
	if !isLoop || err != nil || n > maxLoop || strconv.FormatUint(n, 10) != number {
		return Device{}, false
	}
	return Device{Path: path, Block: true, Major: 7, Minor: uint32(n), Needs: NeedsLoop}, true
}
