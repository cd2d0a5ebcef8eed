package install

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/install/certs"
	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/spec"
)

// Defaults of create.
const (
	DefaultTimeout         = 3 * time.Minute
	DefaultExternalNetwork = "VM Network"
	DefaultEndpointMB      = 1024
	DefaultRootMB          = 8 * 1024
	DefaultBridgeRange     = "172.16.0.0/12"
	DefaultBridgeWidth     = 16
	// ScratchMB is the capacity of the appliance's thin scratch disk.
	ScratchMB = 32 * 1024
	// minEndpointMB is what the appliance needs to boot and pull an image.
	minEndpointMB = 512
	minRootMB     = 64
	// minBuilderMB is what buildkitd needs beside the smallest step of a build.
	minBuilderMB = 512
	// maxBuilderCPUs is what a VM of ESXi 6.7 can have; what the host has is asked at
	// power-on.
	maxBuilderCPUs = 128
	// minContainerBoot is several times what a VM takes on real hardware.
	minContainerBoot = 10 * time.Second
	// maxTagLabel keeps names of categories short; vCenter allows 255 characters.
	maxTagLabel = 200
	// maxName keeps "<name>_n" folders and host names short; vSphere allows 80.
	maxName = 31
)

// forbiddenInName are characters that vSphere escapes in names, or that a
// datastore path or a shell gives a meaning.
const forbiddenInName = "%&*$#@!\\/:?\"<>;'|[]"

// CreateOptions are the wishes of vic-machine create, as typed.
type CreateOptions struct {
	Target Target
	// Force accepts a server that cannot be verified.
	Force  bool
	DryRun bool
	// Timeout bounds everything from the login to the answer of the engine.
	Timeout time.Duration

	Name            string
	ComputeResource string // host, cluster or resource pool; name or path
	BridgeNetwork   string
	ExternalNetwork string
	// ContainerNetworks are port groups that containers can be on besides.
	ContainerNetworks ContainerNetworkOptions
	ImageDatastore    string // datastore[/path]
	// VolumeStores are "datastore[/path]:label", see ParseVolumeStore.
	VolumeStores []string
	// PolicyFile is a file with policies that are valid on all networks.
	PolicyFile string
	// DockerSocket lets containers that bind it reach the Docker API.
	DockerSocket bool
	// TagLabels are the label keys by whose values VMs are tagged in vCenter.
	TagLabels []string

	ApplianceISO, BootstrapISO string // files on this computer

	TLS TLSOptions

	RegistryMirrors    []string
	InsecureRegistries []string
	RegistryCAs        []string // files
	BuilderImage       string   // empty: the engine's default
	// BuilderMB and BuilderCPUs are the size of the VM that docker build runs in; 0 is
	// the engine's default.
	BuilderMB   int64
	BuilderCPUs int

	// MemoryMB and CPUMHz limit the VCH's resource pool; 0 is unlimited.
	MemoryMB, CPUMHz int64
	EndpointMB       int64
	ContainerMB      int64
	// ContainerBoot is how long a containerVM may take to boot; 0 is the
	// engine's default.
	ContainerBoot time.Duration
	BaseImageMB   int64

	// Debug 1 logs more; KeepOnTimeout and above keeps an appliance that does
	// not come up.
	Debug              int
	DebugAuthorizedKey string // file
}

// KeepOnTimeout is the debug level that keeps an appliance which did not come
// up, for someone to look at.
const KeepOnTimeout = 2

// TLSOptions say how the Docker endpoint is secured. The zero value makes a
// self-signed server certificate.
type TLSOptions struct {
	Off bool
	// CName makes a CA, a server certificate for this name and a client
	// certificate, and lets in only clients that show one.
	CName string
	// ServerKey and ServerCert are files of the user's own.
	ServerKey, ServerCert string
}

// checkValues finds what is wrong with the options whatever the target is, and
// reads the files that they name.
func (o CreateOptions) checkValues() (files, []Issue) {
	var is issues
	is.add(checkName(o.Name))
	for _, n := range []struct {
		flag       string
		value, min int64
	}{
		{"--endpoint-memory", o.EndpointMB, minEndpointMB},
		{"--container-memory", o.ContainerMB, spec.MinMemoryMB},
		{"--base-image-size", o.BaseImageMB, minRootMB},
		{"--builder-memory", o.BuilderMB, minBuilderMB},
		{"--memory", o.MemoryMB, 0},
		{"--cpu", o.CPUMHz, 0},
	} {
		if n.value < n.min && n.value != 0 {
			is.addf(n.flag, "%d is too small: the minimum is %d", n.value, n.min)
		}
	}
	if o.ContainerBoot != 0 && o.ContainerBoot < minContainerBoot {
		is.addf("--container-boot-timeout", "%s is too short: the minimum is %s", o.ContainerBoot, minContainerBoot)
	}
	if o.MemoryMB > 0 && o.MemoryMB < o.EndpointMB {
		is.addf("--memory", "a limit of %d MB leaves no room for the appliance's own %d MB (--endpoint-memory)", o.MemoryMB, o.EndpointMB)
	}
	if o.MemoryMB > 0 && o.BuilderMB > o.MemoryMB {
		is.addf("--builder-memory", "%d MB is more than the %d MB that all VMs of the VCH may have (--memory)", o.BuilderMB, o.MemoryMB)
	}
	if o.BuilderCPUs < 0 || o.BuilderCPUs > maxBuilderCPUs {
		is.addf("--builder-cpus", "%d: want 1 to %d", o.BuilderCPUs, maxBuilderCPUs)
	}
	if o.Debug < 0 {
		is.addf("--debug", "%d: want 0 or more", o.Debug)
	}
	for _, m := range o.RegistryMirrors {
		if u, err := url.Parse(m); err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https") {
			is.addf("--registry-mirror", "%q is no URL of a registry: want http://host[:port] or https://host[:port]", Redact(m))
		}
	}
	for _, r := range o.InsecureRegistries {
		if !registryHost(r) {
			is.addf("--insecure-registry", "%q is neither host[:port] nor a CIDR", r)
		}
	}
	if o.BuilderImage != "" {
		if _, err := reference.ParseNormalizedNamed(o.BuilderImage); err != nil {
			is.addf("--builder-image", "%q is no image: %v", o.BuilderImage, err)
		}
	}
	for _, l := range o.TagLabels {
		if l == "" || len(l) > maxTagLabel || strings.ContainsFunc(l, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			is.addf("--tag-labels", "%q is no label key: want 1 to %d characters without blanks", l, maxTagLabel)
		}
	}
	labels := map[string]string{}
	for _, text := range o.VolumeStores {
		v, err := ParseVolumeStore(text)
		if err != nil {
			is.addf("--volume-store", "%v", err)
			continue
		}
		if other, taken := labels[v.Label]; taken {
			is.addf("--volume-store", "%q and %q have the same label: give each its own", other, text)
		}
		labels[v.Label] = text
	}
	_, wrong := ParseContainerNetworks(o.ContainerNetworks)
	is.list = append(is.list, wrong...)
	is.list = append(is.list, o.TLS.check()...)
	var f files
	f.read(o, &is)
	return f, is.list
}

func checkName(name string) error {
	switch {
	case name == "":
		return issuef("--name", "is missing")
	case len(name) > maxName:
		return issuef("--name", "%q has %d characters: the limit is %d", name, len(name), maxName)
	case strings.ContainsAny(name, forbiddenInName):
		return issuef("--name", "%q has one of the characters %s that cannot be used", name, forbiddenInName)
	case strings.TrimSpace(name) != name || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-"):
		return issuef("--name", "%q: must not begin with a space, dot or dash, nor end with a space", name)
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f {
			return issuef("--name", "%q has a control character", name)
		}
	}
	return nil
}

func registryHost(s string) bool {
	if _, _, err := net.ParseCIDR(s); err == nil {
		return true
	}
	u, err := url.Parse("//" + s)
	return err == nil && u.Hostname() != "" && u.Host == s
}

func (t TLSOptions) check() []Issue {
	var is issues
	own := t.ServerKey != "" || t.ServerCert != ""
	switch {
	case t.Off && (own || t.CName != ""):
		is.addf("--no-tls", "cannot go together with --tls-cname, --tls-server-key or --tls-server-cert")
	case own && (t.ServerKey == "" || t.ServerCert == ""):
		is.addf("--tls-server-key", "and --tls-server-cert belong together: give both or neither")
	case own && t.CName != "":
		is.addf("--tls-cname", "has the server's certificate made: leave it out with --tls-server-cert")
	case strings.ContainsAny(t.CName, " /:@") && net.ParseIP(t.CName) == nil:
		is.addf("--tls-cname", "%q is neither a host name nor an address", t.CName)
	}
	return is.list
}

// files are the contents of the files that options name.
type files struct {
	registryCAs string
	debugKey    string
	policies    string
	server      certs.Pair
}

func (f *files) read(o CreateOptions, is *issues) {
	load := func(flag, path string) []byte {
		if path == "" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			is.addf(flag, "cannot be read: %v", err)
		}
		return b
	}
	var cas []string
	for _, path := range o.RegistryCAs {
		b := load("--registry-ca", path)
		if b == nil {
			continue
		}
		if err := certs.CheckBundle(b); err != nil {
			is.addf("--registry-ca", "%s: %v", path, Plain(err))
		}
		cas = append(cas, strings.TrimSpace(string(b))+"\n")
	}
	f.registryCAs = strings.Join(cas, "")
	if b := load("--debug-authorized-key", o.DebugAuthorizedKey); b != nil {
		if _, _, _, _, err := ssh.ParseAuthorizedKey(b); err != nil {
			is.addf("--debug-authorized-key", "%s is no public key in authorized_keys form", o.DebugAuthorizedKey)
		}
		f.debugKey = strings.TrimSpace(string(b))
	}
	if b := load("--policy-file", o.PolicyFile); b != nil {
		if _, err := policy.ParseFile(b); err != nil {
			is.addf("--policy-file", "%s: %v", o.PolicyFile, Plain(err))
		}
		f.policies = string(b)
	}
	f.server.Cert = load("--tls-server-cert", o.TLS.ServerCert)
	f.server.Key = load("--tls-server-key", o.TLS.ServerKey)
	if f.server.Cert != nil && f.server.Key != nil {
		if err := f.server.Check(time.Now()); err != nil {
			is.addf("--tls-server-cert", "%s with key %s: %v", o.TLS.ServerCert, o.TLS.ServerKey, Plain(err))
		}
	}
	for _, iso := range []struct{ flag, path string }{{"--appliance-iso", o.ApplianceISO}, {"--bootstrap-iso", o.BootstrapISO}} {
		st, err := os.Stat(iso.path)
		switch {
		case iso.path == "":
			is.addf(iso.flag, "is missing, and no such file lies beside this program or in ./bin")
		case err != nil:
			is.addf(iso.flag, "cannot be read: %v", err)
		case !st.Mode().IsRegular() || st.Size() == 0:
			is.addf(iso.flag, "%s is no ISO image", iso.path)
		}
	}
}

// ParseMB reads a size in MiB: a plain number, or one with a unit (4GB, 512M).
func ParseMB(s string) (int64, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"GIB", 1024}, {"MIB", 1}, {"TB", 1024 * 1024}, {"GB", 1024}, {"MB", 1}, {"T", 1024 * 1024}, {"G", 1024}, {"M", 1}, {"", 1}}
	up := strings.ToUpper(strings.TrimSpace(s))
	for _, u := range units {
		num, ok := strings.CutSuffix(up, u.suffix)
		if !ok {
			continue
		}
		var n int64
		if _, err := fmt.Sscanf(num+"\n", "%d\n", &n); err != nil || n < 0 || n > 1<<40/u.factor {
			break
		}
		return n * u.factor, nil
	}
	return 0, fmt.Errorf("%q is no size: want a number of MB, or one with a unit like 8GB: %w", s, errdefs.ErrInvalidArgument)
}
