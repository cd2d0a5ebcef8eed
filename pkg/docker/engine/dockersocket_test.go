package engine

import (
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"
)

func TestSocketIsPlanned(t *testing.T) {
	find := func(string) (spec.View, []string, error) {
		return spec.View{Container: spec.Container{Mounts: []spec.Mount{{Type: spec.MountSocket, Path: "/s", Source: "/var/run/docker.sock"}}}}, nil, nil
	}
	for request, want := range map[string]string{ // the mount, or the error
		`{"HostConfig":{"Binds":["/var/run/docker.sock:/var/run/docker.sock"]}}`:                                                                               "/var/run/docker.sock on /var/run/docker.sock",
		`{"HostConfig":{"Binds":["/run//docker.sock:/tmp/../d.sock:ro,z"]}}`:                                                                                   "/run/docker.sock on /d.sock ro",
		`{"HostConfig":{"Binds":["/var/run/docker.sock:/d.sock:rslave,rw"]}}`:                                                                                  "/var/run/docker.sock on /d.sock",
		`{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/run/docker.sock","Target":"/d","ReadOnly":true}]}}`:                                                "/run/docker.sock on /d ro",
		`{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/run/docker.sock","Target":"/d","BindOptions":{"Propagation":"shared","CreateMountpoint":true}}]}}`: "/run/docker.sock on /d",
		`{"HostConfig":{"VolumesFrom":["x:ro"]}}`:                                                                                                              "/var/run/docker.sock on /s ro",
		`{"HostConfig":{"Binds":["/var/run/docker.sock:/"]}}`:                                                                                                  "destination can't be '/'",
		`{"HostConfig":{"Binds":["/var/run/docker.sock:rel"]}}`:                                                                                                "must be absolute",
		`{"HostConfig":{"Binds":["/var/run/docker.sock:/d:nope"]}}`:                                                                                            "invalid mode: nope",
		`{"HostConfig":{"Binds":["/var/run/docker.sock:/d:nocopy"]}}`:                                                                                          "invalid mode: nocopy",
		`{"HostConfig":{"Binds":["/var/run/docker.sock:/d","v:/d"]}}`:                                                                                          "Duplicate mount point: /d",
		`{"HostConfig":{"Binds":["/var/run/docker.sock.d:/d"]}}`:                                                                                               "there is no host whose folders it could have",
		`{"HostConfig":{"Binds":["/var/run:/d"]}}`:                                                                                                             "of host paths only /var/run/docker.sock can be bound",
		`{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/run/docker.sock","Target":"/d","VolumeOptions":{}}]}}`:                                             "VolumeOptions must not be specified",
		`{"HostConfig":{"Mounts":[{"Type":"bind","Source":"/run/docker.sock","Target":"/d","BindOptions":{"Propagation":"x"}}]}}`:                              "invalid propagation mode: x",
	} {
		plans, err := planVolumes(parse(t, request), planInput{Find: find, Socket: true})
		got := ""
		switch {
		case err != nil:
			got = err.Error()
		case len(plans) != 1 || plans[0].Type != spec.MountSocket || plans[0].Name != "" || !plans[0].Inherited:
			t.Errorf("%s: %+v", request, plans)
			continue
		default:
			got = plans[0].Source + " on " + plans[0].Path
			if plans[0].ReadOnly {
				got += " ro"
			}
		}
		if err == nil && got != want || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
		// Where it is not allowed, none of them is made.
		if plans, err := planVolumes(parse(t, request), planInput{Find: find}); err == nil {
			t.Errorf("%s: %+v though not allowed", request, plans)
		}
	}
}

func FuzzBindSocket(f *testing.F) {
	f.Add("/var/run/docker.sock:/var/run/docker.sock:ro")
	f.Add("/run/docker.sock:/:z")
	f.Fuzz(func(t *testing.T, raw string) {
		p, is, err := bindSocket(raw, true)
		if !is || err != nil {
			return
		}
		if !isDockerSocket(p.Source) || p.Path == "/" || !strings.HasPrefix(p.Path, "/") || p.Type != spec.MountSocket {
			t.Errorf("%q: %+v", raw, p)
		}
	})
}
