package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// ContainerConfig is the portable half of a create request, in Docker's JSON.
// It mirrors every field, because inspect shows them all.
type ContainerConfig struct {
	Hostname        string
	Domainname      string
	User            string
	AttachStdin     bool
	AttachStdout    bool
	AttachStderr    bool
	ExposedPorts    map[string]struct{} `json:",omitempty"`
	Tty             bool
	OpenStdin       bool
	StdinOnce       bool
	Env             []string
	Cmd             []string
	Healthcheck     *dockerspec.HealthcheckConfig `json:",omitempty"`
	ArgsEscaped     bool                          `json:",omitempty"`
	Image           string
	Volumes         map[string]struct{}
	WorkingDir      string
	Entrypoint      []string
	NetworkDisabled bool   `json:",omitempty"`
	MacAddress      string `json:",omitempty"`
	OnBuild         []string
	Labels          map[string]string
	StopSignal      string   `json:",omitempty"`
	StopTimeout     *int     `json:",omitempty"` // seconds
	Shell           []string `json:",omitempty"`
}

// HostConfig holds the fields of Docker's HostConfig that the engine acts on.
// The others are only in Request.Host; see the table in options.go.
type HostConfig struct {
	NetworkMode     string
	RestartPolicy   RestartPolicy
	AutoRemove      bool
	LogConfig       LogConfig
	ConsoleSize     [2]int // rows, columns
	Annotations     map[string]string
	CapAdd, CapDrop []string
	SecurityOpt     []string
	IpcMode         string
	Devices         []DeviceRequest
	// nil: Docker's lists, empty: none.
	MaskedPaths, ReadonlyPaths []string
	DNS                        []string `json:"Dns"`
	DNSOptions                 []string `json:"DnsOptions"`
	DNSSearch                  []string `json:"DnsSearch"`
	ExtraHosts                 []string
	GroupAdd                   []string
	Privileged                 bool
	ReadonlyRootfs             bool
	StorageOpt                 map[string]string
	Tmpfs                      map[string]string
	ShmSize                    int64
	Sysctls                    map[string]string
	CPUShares                  int64 `json:"CpuShares"`
	Memory                     int64
	MemoryReservation          int64
	MemorySwap                 int64
	NanoCPUs                   int64 `json:"NanoCpus"`
	CPUPeriod                  int64 `json:"CpuPeriod"`
	CPUQuota                   int64 `json:"CpuQuota"`
	CpusetCpus                 string
	CPUCount                   int64 `json:"CpuCount"`
	PidsLimit                  *int64
	OomScoreAdj                int
	Ulimits                    []Ulimit
	Mounts                     []MountRequest
	Binds                      []string
	VolumesFrom                []string
	VolumeDriver               string
	PortBindings               map[string][]PortBinding
	PublishAllPorts            bool
	Links                      []string
}

// RestartPolicy is when a container is started again by itself.
type RestartPolicy struct {
	Name              string // "", no, always, unless-stopped, on-failure
	MaximumRetryCount int
}

// Ulimit is one resource limit.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// MountRequest is one entry of HostConfig.Mounts.
type MountRequest struct {
	Type          string
	Source        string
	Target        string
	ReadOnly      bool
	VolumeOptions *struct {
		NoCopy       bool
		Labels       map[string]string
		Subpath      string
		DriverConfig *struct {
			Name    string
			Options map[string]string
		}
	}
	// BindOptions are those of /var/run/docker.sock; ImageOptions are refused.
	BindOptions, ImageOptions any
	TmpfsOptions              *struct {
		SizeBytes int64
		Mode      uint32
		Options   [][]string
	}
}

// Request is a create request. Config and HostConfig are what the engine acts
// on; Host and Endpoints keep the rest as it came, for inspect.
type Request struct {
	Config     ContainerConfig
	HostConfig HostConfig
	Host       json.RawMessage
	// Endpoints are the networks asked for, by name, each an object.
	Endpoints map[string]json.RawMessage

	fields map[string]any // every field by the names of options.go
}

// ParseRequest reads the JSON body of a create request: Docker's Config with
// the members HostConfig and NetworkingConfig. Wrong JSON is ErrInvalidArgument.
func ParseRequest(body []byte) (*Request, error) {
	var top map[string]json.RawMessage
	if err := decodeStrict(body, &top); err != nil {
		return nil, invalid("invalid JSON: %v", err)
	}
	if top == nil {
		return nil, invalid("config cannot be empty in order to create a container")
	}
	r := &Request{Host: top["HostConfig"], fields: map[string]any{}}
	if len(r.Host) == 0 || string(r.Host) == "null" {
		r.Host = json.RawMessage("{}")
	}
	var net struct {
		EndpointsConfig map[string]json.RawMessage
	}
	errs := []error{
		json.Unmarshal(body, &r.Config),
		json.Unmarshal(r.Host, &r.HostConfig),
	}
	if raw := top["NetworkingConfig"]; len(raw) > 0 {
		errs = append(errs, json.Unmarshal(raw, &net))
	}
	var host map[string]any
	errs = append(errs, json.Unmarshal(r.Host, &host))
	if err := errors.Join(errs...); err != nil {
		return nil, invalid("invalid JSON: %v", err)
	}
	r.Endpoints = net.EndpointsConfig
	for k, raw := range top {
		if k == "HostConfig" || k == "NetworkingConfig" {
			continue
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, invalid("invalid JSON: %s: %v", k, err)
		}
		r.fields["Config."+k] = v
	}
	for k, v := range host {
		r.fields["HostConfig."+k] = v
	}
	for name, raw := range r.Endpoints {
		var ep map[string]any
		if err := json.Unmarshal(raw, &ep); err != nil {
			return nil, invalid("invalid JSON: endpoint %s: %v", name, err)
		}
		for k, v := range ep {
			if isSet(v) {
				r.fields["Endpoint."+k] = v
			}
		}
	}
	return r, nil
}

// decodeStrict decodes one JSON value and refuses anything after it.
func decodeStrict(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(into); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("got EOF while reading request body")
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected content after JSON")
	}
	return nil
}

// Stored is what the engine keeps of a create request in the annotation
// AnnotationCreate: the merged configuration and the rest as it came.
type Stored struct {
	Config     ContainerConfig
	HostConfig json.RawMessage            `json:",omitempty"`
	Endpoints  map[string]json.RawMessage `json:",omitempty"`
	// Anonymous are the names of the volumes that go with the container.
	Anonymous []string `json:",omitempty"`

	host HostConfig
}

// Annotations of a spec.Container that the engine writes.
const (
	// AnnotationCreate is a Stored as JSON.
	AnnotationCreate = "docker.create"
	// AnnotationStopped is "true" after the user did what the container's restart
	// policy counts as stopping it, see Kill; it is gone again after a start.
	AnnotationStopped = "docker.stopped"
	// AnnotationRestarts counts automatic restarts.
	AnnotationRestarts = "docker.restarts"
)

// encodeStored makes the annotation. Fields that are null, false, zero or ""
// are left out of the host part, since they read back the same.
func encodeStored(r *Request, anonymous []string) (string, error) {
	host, err := compactObject(r.Host)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(Stored{Config: r.Config, HostConfig: host, Endpoints: r.Endpoints, Anonymous: anonymous})
	if err != nil {
		return "", fmt.Errorf("encode create request: %w", err)
	}
	return string(b), nil
}

func decodeStored(text string) (*Stored, error) {
	var s Stored
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, fmt.Errorf("decode create request: %w", err)
	}
	if len(s.HostConfig) == 0 {
		s.HostConfig = json.RawMessage("{}")
	}
	if err := json.Unmarshal(s.HostConfig, &s.host); err != nil {
		return nil, fmt.Errorf("decode host configuration: %w", err)
	}
	return &s, nil
}

func compactObject(raw json.RawMessage) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("read host configuration: %w", err)
	}
	for k, v := range m {
		switch string(v) {
		case "null", "false", "0", `""`:
			delete(m, k)
		}
	}
	return json.Marshal(m)
}
