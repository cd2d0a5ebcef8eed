package command

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/install"
)

type createOptions struct {
	target targetOptions
	create install.CreateOptions
	// sizes as typed, see install.ParseMB
	memory, endpointMemory, containerMemory, baseImageSize, builderMemory sizeMB
	containerBoot                                                         time.Duration
	debug                                                                 int
}

// sizeMB is a flag's value in MiB.
type sizeMB int64

func (s *sizeMB) String() string { return "" }
func (s *sizeMB) Type() string   { return "size" }
func (s *sizeMB) Set(text string) error {
	n, err := install.ParseMB(text)
	*s = sizeMB(n)
	return err
}

// AddFlags declares the flags of create.
func (o *createOptions) AddFlags(f *pflag.FlagSet) {
	o.target.addFlags(f, "accept a target whose certificate cannot be verified, pinning it as seen")
	c := &o.create
	f.StringVarP(&c.Name, "name", "n", "virtual-container-host", "name of the VCH")
	f.StringVarP(&c.BridgeNetwork, "bridge-network", "b", "", "port group for containers, used by this VCH alone; on ESXi it is made when it does not exist (default there: the VCH's name)")
	f.StringVar(&c.ExternalNetwork, "external-network", install.DefaultExternalNetwork, "port group for clients, registries and vSphere")
	n := &c.ContainerNetworks
	f.StringArrayVar(&n.Networks, "container-network", nil, "port group[:name] that containers can be on directly, by that name in Docker; may be repeated")
	f.StringArrayVar(&n.Gateways, "container-network-gateway", nil, "port group:address/length of a container network's router (default: DHCP)")
	f.StringArrayVar(&n.IPRanges, "container-network-ip-range", nil, "port group:range of addresses for containers, CIDR or first-last (default: the gateway's subnet); may be repeated")
	f.StringArrayVar(&n.DNS, "container-network-dns", nil, "port group:address of a name server; may be repeated (default: that of DHCP)")
	f.StringArrayVar(&n.Firewalls, "container-network-firewall", nil, "port group:closed, outbound, peers, published or open: what containers there let through (default published)")
	f.StringVarP(&c.ImageDatastore, "image-datastore", "i", "", "datastore[/path] for images and containers (default: the only one)")
	f.StringArrayVar(&c.VolumeStores, "volume-store", nil, "datastore[/path]:label, or nfs://host/path[?uid=&gid=&port=]:label of a share, where volumes are kept; label default is that of volumes without a store; may be repeated (default: no volumes)")
	f.StringSliceVar(&c.TagLabels, "tag-labels", nil, "keys of labels by whose values containerVMs are tagged in vCenter, as categories vic.label.KEY; may be repeated (default: no tags)")
	f.StringVar(&c.PolicyFile, "policy-file", "", "file with policies, YAML or JSON: rules between groups of containers on all networks (default: none)")
	f.BoolVar(&c.DockerSocket, "docker-socket", false, "allow containers to bind /var/run/docker.sock, relayed to this VCH's Docker API: whoever is in such a container owns the VCH")
	f.StringVarP(&c.ComputeResource, "compute-resource", "r", "", "host, cluster or resource pool (default: the only one)")
	f.DurationVar(&c.Timeout, "timeout", install.DefaultTimeout, "time for everything after the password")
	f.BoolVarP(&c.TLS.Off, "no-tls", "k", false, "leave the Docker API without TLS: anybody who reaches it owns the VCH")
	f.StringVar(&c.TLS.CName, "tls-cname", "", "make a CA, a server certificate for this name and a client certificate in ./<name>/, and ask clients for one")
	f.StringVar(&c.TLS.ServerKey, "tls-server-key", "", "file with the server's private key, PEM")
	f.StringVar(&c.TLS.ServerCert, "tls-server-cert", "", "file with the server's certificate, PEM")
	f.StringArrayVar(&c.RegistryMirrors, "registry-mirror", nil, "URL of a mirror of Docker Hub; may be repeated")
	f.StringArrayVar(&c.InsecureRegistries, "insecure-registry", nil, "host[:port] or CIDR of a registry without verified TLS; may be repeated")
	f.StringVar(&c.BuilderImage, "builder-image", "", "image that docker build runs in: moby/buildkit, or one made from it (default: a version of it that this release was tested with)")
	f.Var(&o.builderMemory, "builder-memory", "memory of the VM that docker build runs in, in MB (default 2048)")
	f.IntVar(&c.BuilderCPUs, "builder-cpus", 0, "CPUs of the VM that docker build runs in (default 2)")
	f.StringArrayVar(&c.RegistryCAs, "registry-ca", nil, "file with certificate authorities of registries, PEM; may be repeated")
	f.StringVar(&c.ApplianceISO, "appliance-iso", "", "the appliance's boot image (default: beside this program, or in ./bin)")
	f.StringVar(&c.BootstrapISO, "bootstrap-iso", "", "the containers' boot image (default: beside this program, or in ./bin)")
	f.Var(&o.memory, "memory", "limit of the resource pool's memory in MB, or with a unit (default: none)")
	f.Int64Var(&c.CPUMHz, "cpu", 0, "limit of the resource pool's CPU in MHz (default: none)")
	f.Var(&o.endpointMemory, "endpoint-memory", "memory of the appliance in MB (default 1024)")
	f.DurationVar(&o.containerBoot, "container-boot-timeout", 0, "how long a containerVM may take to boot (default 3m)")
	f.Var(&o.containerMemory, "container-memory", "memory of a container without --memory, in MB (default 256)")
	f.Var(&o.baseImageSize, "base-image-size", "capacity of a container's own thin disk (default 8GB)")
	f.IntVar(&o.debug, "debug", 0, "1 logs more, here and in the VCH; 2 also keeps an appliance that does not come up")
	f.StringVar(&c.DebugAuthorizedKey, "debug-authorized-key", "", "file with a public SSH key that may log in to the appliance for debugging")
	f.BoolVar(&c.DryRun, "dry-run", false, "validate, print what would be done, and change nothing")
	f.SetNormalizeFunc(createAliases)
}

// createAliases are names that other versions gave to flags.
func createAliases(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	switch name {
	case "public-network":
		name = "external-network"
	case "image-store":
		name = "image-datastore"
	}
	return pflag.NormalizedName(name)
}

func newCreate(t Terminal) *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create --target TARGET --name NAME [flags]",
		Short: "Make a Virtual Container Host",
		Example: `  vic-machine create --target root@esxi01.example.com --name VCH001 \
    --image-datastore mydatastore --bridge-network 'VCH Bridge' --external-network 'VM Network'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runCreate(cmd.Context(), t, cmd.OutOrStdout(), o)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func runCreate(ctx context.Context, t Terminal, out io.Writer, o createOptions) error {
	log := newLog(out, o.debug)
	target, err := o.target.resolve(t, log)
	if err != nil {
		return err
	}
	c := o.create
	c.Target, c.Force, c.Debug = target, o.target.force, o.debug
	c.MemoryMB, c.EndpointMB = int64(o.memory), int64(o.endpointMemory)
	c.ContainerBoot = o.containerBoot
	c.ContainerMB, c.BaseImageMB, c.BuilderMB = int64(o.containerMemory), int64(o.baseImageSize), int64(o.builderMemory)
	if c.ApplianceISO == "" {
		c.ApplianceISO = findISO("appliance.iso")
	}
	if c.BootstrapISO == "" {
		c.BootstrapISO = findISO("bootstrap.iso")
	}
	c.Timeout = orDefault(c.Timeout)
	env, err := newEnv(t, out, log)
	if err != nil {
		return err
	}
	return install.Create(ctx, c, env)
}

func orDefault(d time.Duration) time.Duration {
	if d <= 0 {
		return install.DefaultTimeout
	}
	return d
}
