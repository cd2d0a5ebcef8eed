package install

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestParseVolumeStore(t *testing.T) {
	for _, c := range []struct {
		in   string
		want VolumeStore
		err  string
	}{
		{in: "ds1:default", want: VolumeStore{"default", "ds1", ""}},
		{in: "ds1/a/b:fast-1", want: VolumeStore{"fast-1", "ds1", "a/b"}},
		{in: "ds://ds1/a/:x", want: VolumeStore{"x", "ds1", "a"}},
		{in: "[my ds] vols/x:default", want: VolumeStore{"default", "my ds", "vols/x"}},
		{in: "[ds1]:x", want: VolumeStore{"x", "ds1", ""}},
		{in: "ds1", err: "there is no label"},
		{in: "ds1/a", err: "there is no label"},
		{in: "ds1:", err: `label ""`},
		{in: "ds1:a b", err: `label "a b"`},
		{in: ":x", err: "no datastore"},
		{in: "[ds1:x", err: "bracket"},
		{in: "ds1/../x:y", err: `path "../x"`},
		{in: "nfs://host/path:y", err: "NFS"},
	} {
		got, err := ParseVolumeStore(c.in)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), c.in) || !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: got %v, want %q", c.in, err, c.err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%q: got %+v, %v", c.in, got, err)
		}
	}
}

func FuzzParseVolumeStore(f *testing.F) {
	for _, s := range []string{"ds1/a:default", "[ds] a b:c", "nfs://h/p:l", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseVolumeStore(s)
		if err == nil && (v.Datastore == "" || v.Label == "" || strings.Contains(v.Dir, "..") && strings.Contains("/"+v.Dir+"/", "/../")) {
			t.Errorf("%q gives %+v", s, v)
		}
	})
}
