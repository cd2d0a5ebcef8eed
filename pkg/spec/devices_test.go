package spec

import "testing"

func TestVMDevice(t *testing.T) {
	for path, want := range map[string]Device{
		"/dev/fuse":    {Path: "/dev/fuse", Major: 10, Minor: 229, Needs: NeedsFuse},
		"/dev/loop12":  {Path: "/dev/loop12", Block: true, Major: 7, Minor: 12, Needs: NeedsLoop},
		"/dev/loop":    {},
		"/dev/loop01":  {},
		"/dev/loop256": {},
		"/dev/loop-1":  {},
		"/dev/kvm":     {},
		"/dev/sda":     {},
		"":             {},
	} {
		if d, ok := VMDevice(path); d != want || ok != (want.Path != "") {
			t.Errorf("%q: %+v, %v", path, d, ok)
		}
	}
}
