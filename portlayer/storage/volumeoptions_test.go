package storage

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestParseCapacity(t *testing.T) {
	for s, want := range map[string]int64{
		"10GB": 10 << 30, "512m": 512 << 20, "100": 100 << 20, "1.5g": 1536 << 20, "16385k": 17 << 20, "2TiB": 2 << 40, "16MB": 16 << 20,
	} {
		if n, err := ParseCapacity(s); err != nil || n != want {
			t.Errorf("%s: %d, %v; want %d", s, n, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "-10GB", "10XB", "GB", "1e3", "0x10", "15", "15MB", "17TB", "99999999999999999999", "9223372036854775807", "9223372036854775807GB", "+5", "NaN", "inf"} {
		if n, err := ParseCapacity(s); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %d, %v", s, n, err)
		}
	}
}

func FuzzParseCapacity(f *testing.F) {
	f.Add("10GB")
	f.Add("1.5t")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseCapacity(s); err == nil && (n < 16<<20 || n > 16<<40 || n%(1<<20) != 0) {
			t.Errorf("%q: %d", s, n)
		}
	})
}

func TestVolumeOptions(t *testing.T) {
	for _, bad := range []struct {
		options map[string]string
		says    string
	}{
		{map[string]string{"Capacty": "1g"}, "capacity"},
		{map[string]string{"Capacity": "1g", "size": "2g"}, "differ"},
		{map[string]string{"Capacity": "1g", "capacity": "1g"}, "twice"},
		{map[string]string{"fstype": "btrfs"}, "ext4, xfs"},
		{map[string]string{"fstype": "xfs", "size": "299m"}, "300MiB at least"},
		{map[string]string{"access": "sometimes"}, "read-only"},
		{map[string]string{"diskformat": "fat"}, "eagerzeroedthick"},
		{map[string]string{"vsan-policy-name": "gold", "storage-policy": "silver"}, "differ"},
		{map[string]string{"clone-from": "../x"}, "name of a volume"},
		{map[string]string{"VolumeStore": ""}, "empty"},
	} {
		_, err := parseVolumeOptions(bad.options)
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%v: %v", bad.options, err)
		}
	}
	o, err := parseVolumeOptions(map[string]string{"CAPACITY": "2g", "Size": "2048", "Attach-As": "persistent", "DiskFormat": "ZeroedThick", "volumeStore": "Fast"})
	if err != nil || o.capacity != 2<<30 || o.attach != "persistent" || o.format != "zeroedthick" || o.store != "Fast" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestVolumeNames(t *testing.T) {
	for name, want := range map[string]bool{
		"ab": true, "a.b-c_D9": true, strings.Repeat("a", 200): true,
		"": false, "a": false, ".ab": false, "-ab": false, "a/b": false, "a b": false, "ä1": false, "ab\n": false, strings.Repeat("a", 201): false,
	} {
		if err := checkName(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseStore(t *testing.T) {
	for text, want := range map[string]string{
		"[ds] a/b": "[ds] a/b/volumes", "ds/a/b": "[ds] a/b/volumes", "ds": "[ds] volumes", "[my ds]": "[my ds] volumes",
		"ds://ds/a": "[ds] a/volumes", "ds/../../a": "[ds] a/volumes", "[ds] /a/": "[ds] a/volumes",
	} {
		if ds, root, err := parseStore(text); err != nil || root != want || !strings.HasPrefix(want, "["+ds+"] ") {
			t.Errorf("%s: %s, %s, %v", text, ds, root, err)
		}
	}
	for _, text := range []string{"", "[ds", "[] a", "/a", "http://x/y", "ds/a]b"} {
		if _, root, err := parseStore(text); err == nil {
			t.Errorf("%q: %s", text, root)
		}
	}
}

func FuzzParseVolume(f *testing.F) {
	f.Add([]byte(`{"Version":1,"Name":"data","Driver":"vsphere","FSType":"ext4","Capacity":1073741824}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseVolume(raw, "data")
		if err == nil && (r.Name != "data" || r.Capacity <= 0 || r.AttachAs == "" || r.Access == "") {
			t.Errorf("%+v", r)
		}
	})
}
