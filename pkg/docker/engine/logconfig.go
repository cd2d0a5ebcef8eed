package engine

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/go-units"
)

// LogConfig is what --log-driver and --log-opt ask for.
type LogConfig struct {
	Type   string
	Config map[string]string
}

// noLog is the driver that keeps nothing.
const noLog = "none"

// logDrivers are those that can be asked for: the output is kept in one way, which
// is read as those of the first two are.
func logDrivers() []string { return []string{"json-file", "local", noLog} }

// LogDrivers are those that info shows, which Docker's none is not among.
func LogDrivers() []string { return []string{"json-file", "local"} }

// errNoReading is the answer to who asks for the logs of a container that keeps none.
func errNoReading() error {
	return notImplemented("configured logging driver does not support reading")
}

// foreignDrivers are Docker's others.
func foreignDrivers() []string {
	return []string{"awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "journald", "splunk", "syslog"}
}

// checkLog checks driver and options, in Docker's words, and tells which have no
// effect: the output of a container is one file on the datastore, which its VM writes.
func checkLog(l LogConfig) (warnings []string, err error) {
	driver := l.Type
	switch {
	case driver == "":
		driver = "json-file"
	case slices.Contains(foreignDrivers(), driver):
		return nil, notImplemented("not supported: log driver %q: output is kept on the datastore; use json-file, local or none", driver)
	case !slices.Contains(logDrivers(), driver):
		return nil, invalid("logger: no log driver named '%s' is registered", driver)
	}
	if driver == noLog {
		return nil, nil
	}
	const whole = "output is kept whole on the datastore (LogConfig)"
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, invalid(format, a...)) }
	for _, k := range slices.Sorted(maps.Keys(l.Config)) {
		v := l.Config[k]
		var err error
		switch {
		case k == "mode":
			if v != "" && v != "blocking" && v != "non-blocking" {
				bad("logger: logging mode not supported: %s", v)
			}
			if v == "non-blocking" {
				warnings = append(warnings, "log option mode=non-blocking has no effect: nothing of the output is dropped (LogConfig)")
			}
		case k == "max-buffer-size":
			if l.Config["mode"] != "non-blocking" {
				bad("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
			}
			_, err = units.RAMInBytes(v)
		case k == "max-size":
			var n int64
			if n, err = units.FromHumanSize(v); err == nil && n <= 0 {
				err = errors.New("max-size must be a positive number")
			}
			warnings = append(warnings, "log option max-size has no effect: "+whole)
		case k == "max-file":
			var n int
			if n, err = strconv.Atoi(v); err == nil && n < 1 {
				err = errors.New("max-file cannot be less than 1")
			}
			warnings = append(warnings, "log option max-file has no effect: "+whole)
		case k == "compress":
			var on bool
			if on, err = strconv.ParseBool(v); on {
				warnings = append(warnings, "log option compress has no effect: "+whole)
			}
		case driver == "json-file" && (k == "labels" || k == "env"):
		case driver == "json-file" && (k == "labels-regex" || k == "env-regex"):
			_, err = regexp.Compile(v)
		case driver == "json-file" && k == "tag":
			_, err = logTag(v, spec.View{}, ContainerConfig{})
		case driver == "json-file":
			bad("unknown log opt '%s' for json-file log driver", k)
		default:
			bad("unknown log opt '%s' for log driver %s", k, driver)
		}
		if err != nil {
			bad("log option %s=%s: %v", k, v, err)
		}
	}
	return warnings, errors.Join(errs...)
}

// logDetails is what `docker logs --details` writes before each line, ending in a
// blank: the labels and variables that the options name, and the tag, sorted.
func logDetails(l LogConfig, v spec.View, c ContainerConfig) (string, error) {
	attr := map[string]string{}
	take := func(from map[string]string, list, pattern string) error {
		for _, k := range strings.Split(list, ",") {
			if val, ok := from[k]; ok {
				attr[k] = val
			}
		}
		if pattern == "" {
			return nil
		}
		re, err := regexp.Compile(pattern)
		if err != nil {
			return err
		}
		for k, val := range from {
			if re.MatchString(k) {
				attr[k] = val
			}
		}
		return nil
	}
	env := map[string]string{}
	for _, e := range c.Env {
		if k, val, ok := strings.Cut(e, "="); ok {
			env[k] = val
		}
	}
	if err := errors.Join(take(v.Container.Labels, l.Config["labels"], l.Config["labels-regex"]), take(env, l.Config["env"], l.Config["env-regex"])); err != nil {
		return "", fmt.Errorf("log options: %w", err)
	}
	tag, err := logTag(l.Config["tag"], v, c)
	if err != nil {
		return "", fmt.Errorf("log options: %w", err)
	}
	if tag != "" {
		attr["tag"] = tag
	}
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(attr)) {
		pairs = append(pairs, url.QueryEscape(k)+"="+url.QueryEscape(attr[k]))
	}
	return strings.Join(pairs, ",") + " ", nil
}

func short(id string) string { return id[:min(12, len(id))] }

// placeholder is one {{…}} of a tag.
var placeholder = regexp.MustCompile(`\{\{[^}]*\}\}`)

// logTag fills in a tag. Docker runs it as a template; here it may name what the
// template could, and nothing else: a template can be made to fill all memory.
func logTag(text string, v spec.View, c ContainerConfig) (string, error) {
	var unknown []string
	out := placeholder.ReplaceAllStringFunc(text, func(p string) string {
		switch strings.TrimSpace(p[2 : len(p)-2]) {
		case ".ID":
			return short(v.Container.ID)
		case ".FullID":
			return v.Container.ID
		case ".Name":
			return v.Container.Name
		case ".FullName":
			return "/" + v.Container.Name
		case ".ImageID":
			return short(v.Container.ImageID)
		case ".ImageFullID":
			return v.Container.ImageID
		case ".ImageName":
			return c.Image
		case ".DaemonName":
			return "docker"
		case ".Command":
			return strings.Join(append(slices.Clone(c.Entrypoint), c.Cmd...), " ")
		}
		unknown = append(unknown, p)
		return ""
	})
	if len(unknown) > 0 {
		return "", fmt.Errorf("%s: want {{.ID}}, {{.FullID}}, {{.Name}}, {{.FullName}}, {{.ImageID}}, {{.ImageFullID}}, {{.ImageName}}, {{.DaemonName}} or {{.Command}}", strings.Join(unknown, " "))
	}
	return out, nil
}
