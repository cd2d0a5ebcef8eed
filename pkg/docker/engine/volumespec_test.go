package engine

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

func TestParseVolumeSpec(t *testing.T) {
	for _, c := range []struct {
		in   string
		want volumeSpec
		bad  string
	}{
		{in: "/data", want: volumeSpec{Path: "/data"}},
		{in: "db:/data", want: volumeSpec{Name: "db", Path: "/data"}},
		{in: "db:/data/../x/", want: volumeSpec{Name: "db", Path: "/x"}},
		{in: "db:/data:ro", want: volumeSpec{Name: "db", Path: "/data", Mode: "ro", ReadOnly: true}},
		{in: "db:/data:rw", want: volumeSpec{Name: "db", Path: "/data", Mode: "rw"}},
		{in: "db:/data:ro,nocopy,z", want: volumeSpec{Name: "db", Path: "/data", Mode: "ro,nocopy,z", ReadOnly: true, NoCopy: true}},
		{in: "db:/data:", want: volumeSpec{Name: "db", Path: "/data"}},
		{in: "", bad: "invalid volume specification"},
		{in: ":/data", bad: "invalid volume specification: ':/data'"},
		{in: "/data:ro", bad: "invalid volume specification"},
		{in: "a:/b:ro:x", bad: "invalid volume specification"},
		{in: "db:/data:quick", bad: "invalid mode: quick"},
		{in: "db:/data:ro,rw", bad: "invalid mode: ro,rw"},
		{in: "db:/data:shared", bad: "mount propagation"},
		{in: "db:data", bad: "mount path must be absolute"},
		{in: "data", bad: "mount path must be absolute"},
		{in: "db:/", bad: "destination can't be '/'"},
		{in: "db:/a/..", bad: "destination can't be '/'"},
		{in: "db::ro", bad: "field Target must not be empty"},
		{in: "/host:/data", bad: "bind mount /host:/data: a container is a virtual machine"},
		{in: "./host:/data:ro", bad: "bind mount ./host:/data:ro"},
	} {
		got, err := parseVolumeSpec(c.in)
		switch {
		case c.bad != "" && (err == nil || !strings.Contains(err.Error(), c.bad)):
			t.Errorf("%q: %v, want %q", c.in, err, c.bad)
		case c.bad == "" && (err != nil || got != c.want):
			t.Errorf("%q: %+v, %v; want %+v", c.in, got, err, c.want)
		}
	}
}

func FuzzParseVolumeSpec(f *testing.F) {
	for _, s := range []string{"/a", "a:/b", "a:/b:ro,nocopy", "a:/b:shared", "/x:/y", "a:/../:z", ":::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVolumeSpec(s)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) && !errdefs.IsNotImplemented(err) {
				t.Fatalf("%q: error of no class: %v", s, err)
			}
			return
		}
		if !path.IsAbs(v.Path) || path.Clean(v.Path) != v.Path || v.Path == "/" || strings.HasPrefix(v.Name, "/") || (v.Name == "" && v.Mode != "") {
			t.Fatalf("%q: %+v", s, v)
		}
		again := v.Path
		if v.Name != "" {
			again = v.Name + ":" + v.Path + ":" + v.Mode
		}
		if w, err := parseVolumeSpec(again); err != nil || w != v {
			t.Fatalf("%q is %+v, but %q is %+v, %v", s, v, again, w, err)
		}
	})
}

// show is a plan in one line.
func (p volumePlan) show() string {
	s := p.Path + "=" + p.Name
	for word, is := range map[string]bool{" ro": p.ReadOnly, " nocopy": p.NoCopy, " anonymous": p.Request.Anonymous, " image": p.FromImage, " inherited": p.Inherited} {
		if is {
			s += word
		}
	}
	return s
}

func TestPlanVolumes(t *testing.T) {
	find := func(ref string) (spec.View, []string, error) {
		if ref != "db" {
			return spec.View{}, nil, noSuchContainer(ref)
		}
		return spec.View{Container: spec.Container{Mounts: []spec.Mount{
			{Type: spec.MountVolume, Name: "pg", Path: "/pg"},
			{Type: spec.MountVolume, Name: "anon", Path: "/tmp/a", ReadOnly: true},
			{Type: spec.MountTmpfs, Path: "/run"},
		}}}, []string{"anon"}, nil
	}
	for _, c := range []struct {
		request, user string // user: the -v PATH of the request
		want          []string
		bad           string
		is            func(error) bool
	}{
		{request: `{}`},
		{request: `{"HostConfig":{"Binds":["b:/b:ro","a:/a"]}}`, want: []string{"/a=a", "/b=b ro"}},
		{request: `{"Volumes":{"/x":{},"/y":{}}}`, user: "/x", want: []string{"/x= anonymous", "/y= anonymous image"}},
		{request: `{"Volumes":{"/x/":{}},"HostConfig":{"Binds":["a:/x"]}}`, want: []string{"/x=a"}},
		{request: `{"Volumes":{"/x":{}},"HostConfig":{"Tmpfs":{"/x":""}}}`, want: nil},
		{request: `{"HostConfig":{"VolumesFrom":["db"]}}`, want: []string{"/pg=pg nocopy inherited", "/tmp/a=anon ro nocopy anonymous inherited"}},
		{request: `{"Volumes":{"/pg":{}},"HostConfig":{"VolumesFrom":["db:ro"],"Binds":["mine:/tmp/a"]}}`, want: []string{"/pg=pg ro nocopy inherited", "/tmp/a=mine"}},
		{request: `{"HostConfig":{"Mounts":[{"Type":"volume","Source":"s","Target":"/t","ReadOnly":true,"VolumeOptions":{"NoCopy":true,"Subpath":"a/../b"}}]}}`, want: []string{"/t=s ro nocopy"}},
		{request: `{"HostConfig":{"Binds":["a:/x","b:/x/"]}}`, bad: "Duplicate mount point: /x", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Binds":["a:/x"],"Mounts":[{"Type":"volume","Target":"/x"}]}}`, bad: "Duplicate mount point: /x", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Binds":["a:/x"],"Tmpfs":{"/x":""}}}`, bad: "Duplicate mount point: /x", is: errdefs.IsInvalidArgument},
		// docker's client takes a name of one letter for a drive of Windows.
		{request: `{"Volumes":{"x:/a":{}}}`, user: "x:/a", bad: "'x:/a' mount path must be absolute", is: errdefs.IsInvalidArgument},
		{request: `{"Volumes":{"/":{}}}`, bad: "destination can't be '/'", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"VolumesFrom":["nope"]}}`, bad: "volumes from nope: No such container: nope", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"VolumesFrom":["db:nocopy"]}}`, bad: "invalid mode: nocopy", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"VolumesFrom":[""]}}`, bad: "cannot be an empty string", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/a","Target":"/b"}]}}`, bad: "bind mount of /a (--mount type=bind)", is: errdefs.IsNotImplemented},
		{request: `{"HostConfig":{"Mounts":[{"Type":"image","Source":"a","Target":"/b"}]}}`, bad: `mounts of type "image"`, is: errdefs.IsNotImplemented},
		{request: `{"HostConfig":{"Mounts":[{"Type":"disk","Target":"/b"}]}}`, bad: "mount type unknown", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Mounts":[{"Type":"volume","Target":"b"}]}}`, bad: "must be absolute", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Mounts":[{"Type":"volume","Target":"/b","ReadOnly":true}]}}`, bad: "must not set ReadOnly", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Mounts":[{"Type":"volume","Target":"/b","VolumeOptions":{"Subpath":"x"}}]}}`, bad: "must not set Subpath", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Mounts":[{"Type":"volume","Source":"v","Target":"/b","VolumeOptions":{"Subpath":"../x"}}]}}`, bad: "relative path within the volume", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Mounts":[{"Type":"volume","Source":"v","Target":"/b","BindOptions":{"Propagation":"shared"}}]}}`, bad: "BindOptions", is: errdefs.IsInvalidArgument},
		{request: `{"HostConfig":{"Binds":["/a:/x","b:rel"]}}`, bad: "must be absolute", is: func(err error) bool { return errors.Is(err, errdefs.ErrNotImplemented) }},
	} {
		user := map[string]struct{}{}
		if c.user != "" {
			user[c.user] = struct{}{}
		}
		plans, err := planVolumes(parse(t, c.request), planInput{UserVolumes: user, Find: find})
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) || !c.is(err) {
				t.Errorf("%s: %v, want %q", c.request, err, c.bad)
			}
			continue
		}
		var got []string
		for _, p := range plans {
			got = append(got, p.show())
		}
		sortWords(got)
		sortWords(c.want)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %q, %v; want %q", c.request, got, err, c.want)
		}
	}
}

// sortWords makes lines of show comparable.
func sortWords(lines []string) {
	for i, l := range lines {
		head, rest, _ := strings.Cut(l, " ")
		out := head
		for _, w := range []string{"ro", "nocopy", "anonymous", "image", "inherited"} {
			if strings.Contains(" "+rest+" ", " "+w+" ") {
				out += " " + w
			}
		}
		lines[i] = out
	}
}
