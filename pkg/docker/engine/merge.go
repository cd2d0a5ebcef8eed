package engine

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// imageConfig reads the image's own configuration.
func imageConfig(img spec.Image) (dockerspec.DockerOCIImage, error) {
	var c dockerspec.DockerOCIImage
	if len(img.Config) == 0 {
		return c, nil
	}
	if err := json.Unmarshal(img.Config, &c); err != nil {
		return c, internal("read configuration of image %s: %v", img.ID, err)
	}
	return c, nil
}

// merge gives the container's configuration: what the user asked for, filled
// up from the image. The user's scalar wins; environment, labels, ports and
// volumes are joined by key. A user's entrypoint drops the image's command,
// and [""] is Docker's way to say "no entrypoint".
func merge(user ContainerConfig, image dockerspec.DockerOCIImageConfig) (ContainerConfig, error) {
	c := user
	if c.User == "" {
		c.User = image.User
	}
	if c.WorkingDir == "" {
		c.WorkingDir = image.WorkingDir
	}
	if c.StopSignal == "" {
		c.StopSignal = image.StopSignal
	}
	if len(c.Shell) == 0 {
		c.Shell = image.Shell
	}
	c.ExposedPorts = joinSet(user.ExposedPorts, image.ExposedPorts)
	c.Volumes = joinSet(user.Volumes, image.Volumes)
	c.Env = mergeEnv(user.Env, image.Env)
	c.Labels = mergeMap(user.Labels, image.Labels)
	if len(c.Entrypoint) == 0 {
		if len(c.Cmd) == 0 {
			c.Cmd = image.Cmd
			if !c.ArgsEscaped {
				c.ArgsEscaped = image.ArgsEscaped //nolint:staticcheck // kept because Docker shows it
			}
		}
		if c.Entrypoint == nil {
			c.Entrypoint = image.Entrypoint
		}
	}
	if len(c.Entrypoint) == 1 && c.Entrypoint[0] == "" {
		c.Entrypoint = nil
	}
	c.Healthcheck = mergeHealth(user.Healthcheck, image.Healthcheck)
	if len(c.Entrypoint) == 0 && len(c.Cmd) == 0 {
		return c, invalid("no command specified")
	}
	if err := checkExposed(user.ExposedPorts); err != nil {
		return c, err
	}
	if path.IsAbs(c.WorkingDir) {
		c.WorkingDir = path.Clean(c.WorkingDir)
	}
	return c, checkConfig(c)
}

func checkConfig(c ContainerConfig) error {
	if c.WorkingDir != "" && !strings.HasPrefix(c.WorkingDir, "/") {
		return invalid("the working directory '%s' is invalid, it needs to be an absolute path", c.WorkingDir)
	}
	for _, e := range c.Env {
		if e == "" || strings.HasPrefix(e, "=") {
			return invalid("invalid environment variable: %s", e)
		}
	}
	if c.StopSignal != "" {
		if _, err := parseSignal(c.StopSignal); err != nil {
			return err
		}
	}
	if len(c.Hostname) > 63 {
		return invalid("invalid hostname: %s", c.Hostname)
	}
	if h := c.Healthcheck; h != nil {
		for name, d := range map[string]int64{"Interval": int64(h.Interval), "Timeout": int64(h.Timeout), "StartPeriod": int64(h.StartPeriod), "StartInterval": int64(h.StartInterval)} {
			if d != 0 && d < 1e6 {
				return invalid("%s in Healthcheck cannot be less than 1ms", name)
			}
		}
		if h.Retries < 0 {
			return invalid("Retries in Healthcheck cannot be negative")
		}
	}
	return nil
}

func mergeHealth(user, image *dockerspec.HealthcheckConfig) *dockerspec.HealthcheckConfig {
	if user == nil || image == nil {
		if user == nil {
			return image
		}
		return user
	}
	h := *user
	if len(h.Test) == 0 {
		h.Test = image.Test
	}
	if h.Interval == 0 {
		h.Interval = image.Interval
	}
	if h.Timeout == 0 {
		h.Timeout = image.Timeout
	}
	if h.StartPeriod == 0 {
		h.StartPeriod = image.StartPeriod
	}
	if h.StartInterval == 0 {
		h.StartInterval = image.StartInterval
	}
	if h.Retries == 0 {
		h.Retries = image.Retries
	}
	return &h
}

// mergeEnv keeps the user's entries in their order and appends those of the
// image whose name the user did not set, which is the order Docker shows.
func mergeEnv(user, image []string) []string {
	have := map[string]bool{}
	for _, e := range user {
		name, _, _ := strings.Cut(e, "=")
		have[name] = true
	}
	out := append([]string(nil), user...)
	for _, e := range image {
		if name, _, _ := strings.Cut(e, "="); !have[name] {
			out = append(out, e)
		}
	}
	return out
}

func mergeMap(user, image map[string]string) map[string]string {
	out := make(map[string]string, len(user)+len(image))
	for k, v := range image {
		out[k] = v
	}
	for k, v := range user {
		out[k] = v
	}
	return out
}

func joinSet(a, b map[string]struct{}) map[string]struct{} {
	if len(a)+len(b) == 0 {
		return a
	}
	out := make(map[string]struct{}, len(a)+len(b))
	for k := range a {
		out[k] = struct{}{}
	}
	for k := range b {
		out[k] = struct{}{}
	}
	return out
}

// defaultPath is the PATH of a process whose image sets none, as in Docker.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// processEnv is the environment that the process gets: the engine's own
// entries first, each replaced by the container's of the same name. Entries
// without "=" remove the variable.
func processEnv(env []string, hostname string, tty bool) []string {
	base := []string{defaultPath, "HOSTNAME=" + hostname}
	if tty {
		base = append(base, "TERM=xterm")
	}
	return replaceEnv(base, env)
}

func replaceEnv(base, over []string) []string {
	out := append([]string(nil), base...)
	at := map[string]int{}
	for i, e := range out {
		name, _, _ := strings.Cut(e, "=")
		at[name] = i
	}
	for _, e := range over {
		name, _, hasValue := strings.Cut(e, "=")
		i, known := at[name]
		switch {
		case !hasValue && known:
			out[i] = ""
		case !hasValue:
		case known:
			out[i] = e
		default:
			at[name] = len(out)
			out = append(out, e)
		}
	}
	kept := out[:0]
	for _, e := range out {
		if e != "" {
			kept = append(kept, e)
		}
	}
	return kept
}

// commandLine is the program and its arguments.
func commandLine(c ContainerConfig) (path string, args []string) {
	all := append(append([]string(nil), c.Entrypoint...), c.Cmd...)
	if len(all) == 0 {
		return "", nil
	}
	return all[0], all[1:]
}

// shownCommand is the command as ps prints it.
func shownCommand(c ContainerConfig) string {
	path, args := commandLine(c)
	parts := []string{path}
	for _, a := range args {
		if strings.Contains(a, " ") {
			a = fmt.Sprintf("'%s'", a)
		}
		parts = append(parts, a)
	}
	return strings.Join(parts, " ")
}
