package engine

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

const testID = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58"

func testInput() buildInput {
	return buildInput{
		ID: testID, Name: "jolly_panini", Image: spec.Image{ID: "sha256:" + testID, Layers: []string{"sha256:" + testID}},
		Networks: []spec.Network{{ID: "b1b2b3b4b5b6b7b8", Name: "bridge"}}, MHzPerCPU: 2000,
	}
}

func parse(t *testing.T, body string) *Request {
	t.Helper()
	r, err := ParseRequest([]byte(body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return r
}

// TestBuildGolden builds the container of a request that sets all that is
// honoured, and compares the whole.
func TestBuildGolden(t *testing.T) {
	body, err := os.ReadFile(filepath.Join("testdata", "create-full.json"))
	if err != nil {
		t.Fatal(err)
	}
	r := parse(t, string(body))
	if w, err := checkOptions(r.fields); err != nil || len(w) != 0 {
		t.Fatalf("options: %v, warnings %q", err, w)
	}
	c, warnings, err := build(r, testInput())
	if err != nil || len(warnings) != 0 {
		t.Fatalf("build: %v, warnings %q", err, warnings)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	golden(t, "container-full.json", withoutZeros(t, c))
}

// withoutZeros is v as JSON without what is unset, so that goldens stay as they
// are when the vocabulary grows.
func withoutZeros(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var a any
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatal(err)
	}
	if b, err = json.MarshalIndent(pruneZeros(a), "", "  "); err != nil {
		t.Fatal(err)
	}
	return b
}

func pruneZeros(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e = pruneZeros(e); isSet(e) {
				v[k] = e
			} else {
				delete(v, k)
			}
		}
	case []any:
		for i := range v {
			v[i] = pruneZeros(v[i])
		}
	}
	return v
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func TestResources(t *testing.T) {
	for _, c := range []struct {
		host string
		want spec.Resources
		warn string
	}{
		{`{}`, spec.Resources{}, ""},
		{`{"Memory":268435456}`, spec.Resources{MemoryMB: 256}, ""},
		{`{"Memory":268435457}`, spec.Resources{MemoryMB: 260}, ""},
		{`{"Memory":33554432}`, spec.Resources{MemoryMB: 96}, "needs 96 MiB of memory to boot"},
		{`{"NanoCpus":2000000000}`, spec.Resources{CPUs: 2}, ""},
		{`{"NanoCpus":1500000000}`, spec.Resources{CPUs: 2, CPULimitMHz: 3000}, ""},
		{`{"NanoCpus":500000000}`, spec.Resources{CPUs: 1, CPULimitMHz: 1000}, ""},
		{`{"CpuQuota":250000}`, spec.Resources{CPUs: 3, CPULimitMHz: 5000}, ""},
		{`{"CpuQuota":50000,"CpuPeriod":25000}`, spec.Resources{CPUs: 2}, ""},
		{`{"CpuCount":4}`, spec.Resources{CPUs: 4}, ""},
		{`{"CpusetCpus":"0-2,2,5"}`, spec.Resources{CPUs: 4}, ""},
		{`{"CpuShares":512,"Memory":1073741824,"MemoryReservation":536870912}`, spec.Resources{CPUShares: 512, MemoryMB: 1024, ReservationMB: 512}, ""},
	} {
		r := parse(t, `{"Cmd":["x"],"HostConfig":`+c.host+`}`)
		got, warnings, err := build(r, testInput())
		if err != nil {
			t.Errorf("%s: %v", c.host, err)
			continue
		}
		if d := cmp.Diff(c.want, got.Resources); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.host, d)
		}
		if w := strings.Join(warnings, "\n"); (c.warn == "") != (w == "") || !strings.Contains(w, c.warn) {
			t.Errorf("%s: warnings %q, want %q", c.host, w, c.warn)
		}
	}
}

// TestRefusals goes over what a create request is refused for: each has its
// class and names what is wrong.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		host, want string
		is         func(error) bool
	}{
		{`"DeviceRequests":[{"Count":-1}]`, "--gpus", errdefs.IsNotImplemented},
		{`"PidMode":"host"`, "PID namespace", errdefs.IsNotImplemented},
		{`"NetworkMode":"host"`, "host networking", errdefs.IsNotImplemented},
		{`"NetworkMode":"container:x"`, "another container's network", errdefs.IsNotImplemented},
		{`"NetworkMode":"mine"`, "network mine not found", errdefs.IsInvalidArgument},
		{`"Memory":4096`, "Minimum memory limit allowed is 6MB", errdefs.IsInvalidArgument},
		{`"Memory":8388608,"MemoryReservation":16777216`, "Minimum memory limit can not be less than memory reservation limit, see usage", errdefs.IsInvalidArgument},
		{`"MemorySwap":8388608`, "You should always set the Memory limit when using Memoryswap limit, see usage", errdefs.IsInvalidArgument},
		{`"NanoCpus":1,"CpuQuota":5000`, "Conflicting options: Nano CPUs and CPU Period or Quota cannot both be set", errdefs.IsInvalidArgument},
		{`"CpusetCpus":"x"`, "Invalid value x for cpuset cpus", errdefs.IsInvalidArgument},
		{`"Runtime":"kata"`, "unknown or invalid runtime name: kata", errdefs.IsInvalidArgument},
		{`"Isolation":"hyperv"`, "invalid isolation 'hyperv' on linux", errdefs.IsInvalidArgument},
		{`"RestartPolicy":{"Name":"sometimes"}`, "unknown policy 'sometimes'", errdefs.IsInvalidArgument},
		{`"RestartPolicy":{"Name":"always","MaximumRetryCount":3}`, "maximum retry count can only be used with 'on-failure'", errdefs.IsInvalidArgument},
		{`"RestartPolicy":{"Name":"always"},"AutoRemove":true`, "can't create 'AutoRemove' container with restart policy", errdefs.IsInvalidArgument},
		{`"ExtraHosts":["nothing"]`, "bad format for add-host", errdefs.IsInvalidArgument},
		{`"ExtraHosts":["a:b"]`, "invalid IP address in add-host", errdefs.IsInvalidArgument},
		{`"Dns":["x"]`, "invalid DNS server address", errdefs.IsInvalidArgument},
		{`"Ulimits":[{"Name":"nope","Soft":1,"Hard":1}]`, "nope", errdefs.IsInvalidArgument},
		{`"StorageOpt":{"size":"x"}`, `invalid storage size "x"`, errdefs.IsInvalidArgument},
		{`"Tmpfs":{"/a":"size=1m,lowerdir=/x"}`, `invalid tmpfs option "lowerdir=/x" of /a`, errdefs.IsInvalidArgument},
		{`"Mounts":[{"Type":"tmpfs","Target":"/a","TmpfsOptions":{"Options":[["bind"]]}}]`, `invalid tmpfs option "bind"`, errdefs.IsInvalidArgument},
		{`"Tmpfs":{"rel":""}`, "mount path must be absolute", errdefs.IsInvalidArgument},
		{`"Tmpfs":{"/a":""},"Mounts":[{"Type":"tmpfs","Target":"/a/"}]`, "Duplicate mount point: /a", errdefs.IsInvalidArgument},
	} {
		r := parse(t, `{"Cmd":["x"],"HostConfig":{`+c.host+`}}`)
		_, refused := checkOptions(r.fields)
		_, _, err := build(r, testInput())
		if err == nil {
			err = refused
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !c.is(err) {
			t.Errorf("%s: %v, want %q", c.host, err, c.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for host, want := range map[string]string{
		`"OomScoreAdj":5`:                       "",
		`"OomKillDisable":true`:                 "OomKillDisable",
		`"CgroupParent":"x"`:                    "CgroupParent",
		`"PidsLimit":100`:                       "",
		`"MemorySwappiness":5`:                  "MemorySwappiness",
		`"CpusetMems":"0"`:                      "CpusetMems",
		`"BlkioWeight":10`:                      "BlkioWeight",
		`"CgroupnsMode":"host"`:                 "CgroupnsMode",
		`"PidsLimit":-1`:                        "",
		`"MemorySwap":-1`:                       "",
		`"IpcMode":"private"`:                   "",
		`"MemorySwappiness":-1`:                 "",
		`"PortBindings":{}`:                     "",
		`"Binds":[]`:                            "",
		`"Devices":null`:                        "",
		`"LogConfig":{"Type":"","Config":null}`: "",
		`"SecurityOpt":["seccomp=unconfined","label=disable"]`: "",
	} {
		r := parse(t, `{"Cmd":["x"],"HostConfig":{`+host+`}}`)
		w, err := checkOptions(r.fields)
		if err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if got := strings.Join(w, "\n"); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: warnings %q, want %q", host, got, want)
		}
	}
}

// TestStoredRoundTrip: what inspect needs comes back from the annotation.
func TestStoredRoundTrip(t *testing.T) {
	r := parse(t, `{"Image":"x","Cmd":["a | b","\"q\""],"Labels":{"k":"v"},"HostConfig":{"Memory":1048576,"AutoRemove":true,"Binds":null,"CapAdd":[],"RestartPolicy":{"Name":"always"}}}`)
	text, err := encodeStored(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "Binds") {
		t.Errorf("null is kept: %s", text)
	}
	s, err := decodeStored(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.Config, s.Config); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	if !s.host.AutoRemove || s.host.Memory != 1<<20 || s.host.RestartPolicy.Name != "always" {
		t.Errorf("host configuration: %+v", s.host)
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(`{"Image":"busybox","Cmd":["x"],"HostConfig":{"NanoCpus":1500000000,"Tmpfs":{"/a":"size=1"}},"NetworkingConfig":{"EndpointsConfig":{"bridge":{}}}}`))
	f.Add([]byte(`{"HostConfig":null,"NetworkingConfig":null}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"Image":"b","Cmd":["x"],"Healthcheck":{"Test":["CMD-SHELL"]},"HostConfig":{"SecurityOpt":["=","no-new-privileges:"],"Devices":[{"PathOnHost":"/dev/loop9"}],"MaskedPaths":[""],"LogConfig":{"Config":{"tag":"{{}}","max-size":"9e99"}}}}`))
	f.Add([]byte(`{"HostConfig":{"CpusetCpus":"0-1023","StorageOpt":{"SIZE":"9e99"},"ExtraHosts":["=",":"]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseRequest(body)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("%q: %v is no invalid argument", body, err)
			}
			return
		}
		_, _ = checkOptions(r.fields)
		_, _ = healthWarnings(r.Config.Healthcheck), probeOf(&r.Config)
		c, _, err := build(r, testInput())
		if err == nil && c.Resources.MemoryMB%memoryStepMB != 0 {
			t.Fatalf("%q: memory %d MiB", body, c.Resources.MemoryMB)
		}
		text, err := encodeStored(r, nil)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if _, err := decodeStored(text); err != nil {
			t.Fatalf("%q: stored text does not read back: %v", body, err)
		}
	})
}
