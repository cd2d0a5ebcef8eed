package install

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/nfs"
)

func TestParseVolumeStore(t *testing.T) {
	for _, c := range []struct {
		in   string
		want VolumeStore
		err  string
	}{
		{in: "ds1:default", want: VolumeStore{Label: "default", Datastore: "ds1"}},
		{in: "ds1/a/b:fast-1", want: VolumeStore{Label: "fast-1", Datastore: "ds1", Dir: "a/b"}},
		{in: "ds://ds1/a/:x", want: VolumeStore{Label: "x", Datastore: "ds1", Dir: "a"}},
		{in: "[my ds] vols/x:default", want: VolumeStore{Label: "default", Datastore: "my ds", Dir: "vols/x"}},
		{in: "[ds1]:x", want: VolumeStore{Label: "x", Datastore: "ds1"}},
		{in: "ds1", err: "there is no label"},
		{in: "ds1/a", err: "there is no label"},
		{in: "ds1:", err: `label ""`},
		{in: "ds1:a b", err: `label "a b"`},
		{in: ":x", err: "no datastore"},
		{in: "[ds1:x", err: "bracket"},
		{in: "ds1/../x:y", err: `path "../x"`},
		{in: "nfs://host/path:y", want: VolumeStore{Label: "y", Share: nfs.Share{Host: "host", Path: "/path"}}},
		{in: "nfs://h:12049/a/b?uid=1000&gid=50:y", want: VolumeStore{Label: "y", Share: nfs.Share{Host: "h", Path: "/a/b", UID: 1000, GID: 50, Port: 12049, MountPort: 12049}}},
		{in: "nfs://host:2049/path", err: "there is no label"},
		{in: "nfs://host/path?uid=me:y", err: "uid=me"},
	} {
		got, err := ParseVolumeStore(c.in)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), strings.TrimSuffix(c.in, ":y")) || !errdefs.IsInvalidArgument(err) {
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
		if err == nil && ((v.Datastore == "") == (v.Share.Host == "") || v.Label == "" || strings.Contains(v.Dir, "..") && strings.Contains("/"+v.Dir+"/", "/../")) {
			t.Errorf("%q gives %+v", s, v)
		}
	})
}
