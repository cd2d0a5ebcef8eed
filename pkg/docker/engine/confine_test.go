package engine

import (
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// TestConfine: what is honoured of the options that narrow or widen what a process
// may do inside of its VM.
func TestConfine(t *testing.T) {
	own := func(masked, readOnly []string) spec.Container {
		return spec.Container{Root: spec.Root{OwnPaths: true, MaskedPaths: masked, ReadonlyPaths: readOnly}}
	}
	for host, want := range map[string]spec.Container{
		`"IpcMode":"private"`:                 {},
		`"IpcMode":"shareable"`:               {},
		`"IpcMode":"none"`:                    {Root: spec.Root{NoShm: true}},
		`"SecurityOpt":["no-new-privileges"]`: {Process: spec.Process{NoNewPrivileges: true}},
		`"SecurityOpt":["no-new-privileges:true","seccomp=unconfined"]`:                                                                     {Process: spec.Process{NoNewPrivileges: true}},
		`"SecurityOpt":["no-new-privileges=true","no-new-privileges=false","label=disable","apparmor:unconfined","writable-cgroups=false"]`: {},
		`"MaskedPaths":null,"ReadonlyPaths":null`:                                                                                           {},
		`"MaskedPaths":[],"ReadonlyPaths":[]`:                                                                                               own([]string{}, []string{}),
		`"MaskedPaths":["/x"]`:                                                                                                              own([]string{"/x"}, DefaultReadonlyPaths()),
		`"ReadonlyPaths":["/y"]`:                                                                                                            own(DefaultMaskedPaths(), []string{"/y"}),
		`"MaskedPaths":[],"Privileged":true`:                                                                                                {},
		`"Devices":[{"PathOnHost":"/dev/fuse","PathInContainer":"/dev/fuse","CgroupPermissions":"rwm"},{"PathOnHost":"/dev/loop3","PathInContainer":"/dev/disk"}]`: {
			Root: spec.Root{Devices: []string{"/dev/fuse", "/dev/loop3:/dev/disk"}}},
	} {
		var c spec.Container
		w, err := confine(&parse(t, `{"HostConfig":{`+host+`}}`).HostConfig, &c)
		if err != nil || len(w) > 0 {
			t.Errorf("%s: %v, warnings %q", host, err, w)
		}
		if d := cmp.Diff(want, c); d != "" {
			t.Errorf("%s (-want +got):\n%s", host, d)
		}
	}
	c := spec.Container{}
	if _, err := confine(&HostConfig{MaskedPaths: DefaultMaskedPaths(), ReadonlyPaths: DefaultReadonlyPaths()}, &c); err != nil || c.Root.OwnPaths {
		t.Errorf("the defaults, spelled out: %+v, %v", c.Root, err)
	}
}

func TestConfineRefuses(t *testing.T) {
	for host, c := range map[string]struct {
		want string
		is   func(error) bool
	}{
		`"IpcMode":"host"`:                                                {"a shared IPC namespace (--ipc host)", errdefs.IsNotImplemented},
		`"IpcMode":"container:x"`:                                         {"a shared IPC namespace", errdefs.IsNotImplemented},
		`"IpcMode":"mine"`:                                                {"invalid IPC mode: mine", errdefs.IsInvalidArgument},
		`"SecurityOpt":["seccomp={}"]`:                                    {"has no seccomp profile", errdefs.IsNotImplemented},
		`"SecurityOpt":["apparmor=docker-default"]`:                       {"has no apparmor profile", errdefs.IsNotImplemented},
		`"SecurityOpt":["label=type:x"]`:                                  {"has no label profile", errdefs.IsNotImplemented},
		`"SecurityOpt":["writable-cgroups"]`:                              {"writable-cgroups", errdefs.IsNotImplemented},
		`"SecurityOpt":["nothing"]`:                                       {`invalid --security-opt 1: "nothing"`, errdefs.IsInvalidArgument},
		`"SecurityOpt":["a=b"]`:                                           {`invalid --security-opt 2: "a=b"`, errdefs.IsInvalidArgument},
		`"SecurityOpt":["no-new-privileges=x"]`:                           {`invalid --security-opt 2`, errdefs.IsInvalidArgument},
		`"MaskedPaths":["proc"]`:                                          {`path "proc": must be absolute`, errdefs.IsInvalidArgument},
		`"Devices":[{"PathOnHost":"/dev/kvm"}]`:                           {"device /dev/kvm (--device)", errdefs.IsNotImplemented},
		`"Devices":[{"PathOnHost":"/dev/fuse","PathInContainer":"x"}]`:    {`"x"`, errdefs.IsInvalidArgument},
		`"Devices":[{"PathOnHost":"/dev/fuse","CgroupPermissions":"rx"}]`: {`permissions of device /dev/fuse: "rx"`, errdefs.IsInvalidArgument},
	} {
		_, err := confine(&parse(t, `{"HostConfig":{`+host+`}}`).HostConfig, &spec.Container{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !c.is(err) {
			t.Errorf("%s: %v, want %q", host, err, c.want)
		}
	}
	w, err := confine(&HostConfig{Devices: []DeviceRequest{{PathOnHost: "/dev/fuse", CgroupPermissions: "r"}}}, &spec.Container{})
	if err != nil || len(w) != 1 || !strings.Contains(w[0], "permissions r of device /dev/fuse") {
		t.Errorf("a device to read only: %q, %v", w, err)
	}
}

func TestLogConfig(t *testing.T) {
	for _, c := range []struct {
		log, warning, err string
	}{
		{`{}`, "", ""},
		{`{"Type":"none","Config":{"x":"y"}}`, "", ""},
		{`{"Type":"json-file","Config":{"labels":"a","env-regex":"^X","tag":"{{.Name}}/{{ .ID }}","mode":"blocking","compress":"false"}}`, "", ""},
		{`{"Type":"local","Config":{"max-size":"10m","max-file":"3"}}`, "log option max-file has no effect", ""},
		{`{"Type":"json-file","Config":{"mode":"non-blocking","max-buffer-size":"4m"}}`, "nothing of the output is dropped", ""},
		{`{"Type":"json-file","Config":{"max-size":"-1"}}`, "", "log option max-size=-1"},
		{`{"Type":"json-file","Config":{"max-file":"0"}}`, "", "max-file cannot be less than 1"},
		{`{"Type":"json-file","Config":{"max-buffer-size":"4m"}}`, "", "max-buffer-size option is only supported with 'mode=non-blocking'"},
		{`{"Type":"json-file","Config":{"mode":"fast"}}`, "", "logging mode not supported: fast"},
		{`{"Type":"json-file","Config":{"size":"1"}}`, "", "unknown log opt 'size' for json-file log driver"},
		{`{"Type":"local","Config":{"labels":"a"}}`, "", "unknown log opt 'labels' for log driver local"},
		{`{"Type":"json-file","Config":{"labels-regex":"("}}`, "", "log option labels-regex=("},
		{`{"Type":"json-file","Config":{"tag":"{{printf \"%1000d\" 1}}"}}`, "", "want {{.ID}}"},
		{`{"Type":"syslog"}`, "", `not supported: log driver "syslog"`},
		{`{"Type":"mine"}`, "", "no log driver named 'mine' is registered"},
	} {
		w, err := checkLog(parse(t, `{"HostConfig":{"LogConfig":`+c.log+`}}`).HostConfig.LogConfig)
		all := strings.Join(w, "\n")
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", c.log, err, c.err)
		}
		if c.err == "" && (c.warning == "") != (all == "") || c.err == "" && !strings.Contains(all, c.warning) {
			t.Errorf("%s: warnings %q, want %q", c.log, all, c.warning)
		}
	}
}

func TestLogDetails(t *testing.T) {
	v := spec.View{Container: spec.Container{ID: testID, Name: "web", Labels: map[string]string{"app": "a b", "team": "x", "other": "o"}}}
	got, err := logDetails(LogConfig{Config: map[string]string{"labels": "app,nope", "labels-regex": "^te", "env": "A", "env-regex": "^B", "tag": "{{.Name}}-{{.ID}}"}},
		v, ContainerConfig{Env: []string{"A=1", "BB=2", "C=3", "D"}})
	if want := "A=1,BB=2,app=a+b,tag=web-" + testID[:12] + ",team=x "; err != nil || got != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if got, err = logDetails(LogConfig{}, v, ContainerConfig{}); err != nil || got != " " {
		t.Errorf("none: %q, %v", got, err)
	}
}
