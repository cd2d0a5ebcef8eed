package engine

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func imageConf(c ocispec.ImageConfig) dockerspec.DockerOCIImageConfig {
	return dockerspec.DockerOCIImageConfig{ImageConfig: c}
}

func TestMerge(t *testing.T) {
	set := func(k ...string) map[string]struct{} {
		m := map[string]struct{}{}
		for _, s := range k {
			m[s] = struct{}{}
		}
		return m
	}
	health := &dockerspec.HealthcheckConfig{Test: []string{"CMD", "x"}, Interval: time.Second, Retries: 3}
	full := dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{
			User: "www", Env: []string{"PATH=/bin", "A=image"}, Entrypoint: []string{"/entry"}, Cmd: []string{"arg"}, WorkingDir: "/srv",
			Labels: map[string]string{"a": "image", "b": "image"}, ExposedPorts: set("80/tcp"), Volumes: set("/data"), StopSignal: "SIGQUIT",
		},
		DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{Healthcheck: health, Shell: []string{"/bin/ash", "-c"}},
	}
	none := map[string]string{}
	for _, c := range []struct {
		name  string
		user  ContainerConfig
		image dockerspec.DockerOCIImageConfig
		want  ContainerConfig
	}{
		{"everything from the image", ContainerConfig{}, full, ContainerConfig{
			User: "www", Env: []string{"PATH=/bin", "A=image"}, Entrypoint: []string{"/entry"}, Cmd: []string{"arg"}, WorkingDir: "/srv",
			Labels: map[string]string{"a": "image", "b": "image"}, ExposedPorts: set("80/tcp"), Volumes: set("/data"), StopSignal: "SIGQUIT",
			Healthcheck: health, Shell: []string{"/bin/ash", "-c"},
		}},
		{"the user's scalars win, maps are joined", ContainerConfig{
			User: "0", Env: []string{"A=user", "B=user"}, Cmd: []string{"c"}, WorkingDir: "/", Labels: map[string]string{"a": "user"},
			ExposedPorts: set("443/tcp"), StopSignal: "INT", Healthcheck: &dockerspec.HealthcheckConfig{Retries: 9},
		}, full, ContainerConfig{
			User: "0", Env: []string{"A=user", "B=user", "PATH=/bin"}, Entrypoint: []string{"/entry"}, Cmd: []string{"c"}, WorkingDir: "/",
			Labels: map[string]string{"a": "user", "b": "image"}, ExposedPorts: set("80/tcp", "443/tcp"), Volumes: set("/data"), StopSignal: "INT",
			Healthcheck: &dockerspec.HealthcheckConfig{Test: []string{"CMD", "x"}, Interval: time.Second, Retries: 9}, Shell: []string{"/bin/ash", "-c"},
		}},
		{"an entrypoint drops the image's command", ContainerConfig{Entrypoint: []string{"sh"}}, imageConf(ocispec.ImageConfig{Entrypoint: []string{"e"}, Cmd: []string{"c"}}),
			ContainerConfig{Entrypoint: []string{"sh"}, Labels: none}},
		{"a command keeps the entrypoint", ContainerConfig{Cmd: []string{"x"}}, imageConf(ocispec.ImageConfig{Entrypoint: []string{"e"}, Cmd: []string{"c"}}),
			ContainerConfig{Entrypoint: []string{"e"}, Cmd: []string{"x"}, Labels: none}},
		{"an empty entrypoint list takes the image's command only", ContainerConfig{Entrypoint: []string{}}, imageConf(ocispec.ImageConfig{Entrypoint: []string{"e"}, Cmd: []string{"c"}}),
			ContainerConfig{Entrypoint: []string{}, Cmd: []string{"c"}, Labels: none}},
		{`[""] is no entrypoint`, ContainerConfig{Entrypoint: []string{""}, Cmd: []string{"x"}}, imageConf(ocispec.ImageConfig{Entrypoint: []string{"e"}, Cmd: []string{"c"}}),
			ContainerConfig{Cmd: []string{"x"}, Labels: none}},
		{"a name without value hides the image's", ContainerConfig{Cmd: []string{"x"}, Env: []string{"A"}}, imageConf(ocispec.ImageConfig{Env: []string{"A=1"}}),
			ContainerConfig{Cmd: []string{"x"}, Env: []string{"A"}, Labels: none}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := merge(c.user, c.image)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("merged configuration (-want +got):\n%s", d)
			}
		})
	}
}

func TestMergeRefuses(t *testing.T) {
	for _, c := range []struct {
		user ContainerConfig
		want string
	}{
		{ContainerConfig{}, "no command specified"},
		{ContainerConfig{Entrypoint: []string{""}}, "no command specified"},
		{ContainerConfig{Cmd: []string{"x"}, WorkingDir: "rel"}, "the working directory 'rel' is invalid, it needs to be an absolute path"},
		{ContainerConfig{Cmd: []string{"x"}, Env: []string{"=x"}}, "invalid environment variable: =x"},
		{ContainerConfig{Cmd: []string{"x"}, StopSignal: "SIGNOPE"}, "invalid signal: SIGNOPE"},
		{ContainerConfig{Cmd: []string{"x"}, Healthcheck: &dockerspec.HealthcheckConfig{Interval: 3}}, "Interval in Healthcheck cannot be less than 1ms"},
	} {
		_, err := merge(c.user, dockerspec.DockerOCIImageConfig{})
		if err == nil || err.Error() != c.want || !errdefs.IsInvalidArgument(err) {
			t.Errorf("merge(%+v) = %v, want invalid argument %q", c.user, err, c.want)
		}
	}
}

func TestProcessEnv(t *testing.T) {
	got := processEnv([]string{"PATH=/x", "A=1", "TERM", "B"}, "host", true)
	want := []string{"PATH=/x", "HOSTNAME=host", "A=1"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("environment (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{defaultPath, "HOSTNAME=h"}, processEnv(nil, "h", false)); d != "" {
		t.Errorf("default environment (-want +got):\n%s", d)
	}
}
