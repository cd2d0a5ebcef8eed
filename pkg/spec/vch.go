package spec

// VCH is the configuration of one Virtual Container Host. vic-machine writes
// it to the appliance VM's configuration; the appliance's tether reads it,
// unseals the secrets and hands it to vic-engine as JSON.
type VCH struct {
	Name string // display name, "VCH001"
	UUID string // identity of the VCH; containerVMs carry it in a hidden key
	// Version is the vic version that installed it.
	Version string

	// Target is the SDK URL as the appliance reaches it ("https://host:port/sdk").
	Target     string
	Thumbprint string // SHA-256 or SHA-1 of the server certificate, colons, upper case
	User       string
	Password   string `json:",omitempty"` // sealed in the VMX

	Datacenter string // inventory path, "/ha-datacenter"
	// Pool, Folder, Host are inventory paths; Host is set on a standalone host.
	Pool   string
	Folder string
	Host   string
	VM     string // managed object id of the appliance

	// ImageStore is "[datastore] path" below which VIC/<uuid>/ lies; HomeDir is
	// the appliance's own folder with the two ISOs ("[datastore] VCH001").
	ImageStore string
	HomeDir    string
	// BootstrapISO is the datastore path of the containers' boot image.
	BootstrapISO string

	// Networks by role: "external", "bridge", "client", "management".
	Networks map[string]VCHNetwork
	// ContainerNetworks are port groups that containers can be on besides.
	ContainerNetworks []ContainerNetwork
	// BridgeRange is the pool of bridge networks, BridgeWidth their prefix length.
	BridgeRange string
	BridgeWidth int

	// ServerCert, ServerKey and ClientCAs are PEM. No ServerCert: no TLS.
	ServerCert string
	ServerKey  string `json:",omitempty"` // sealed in the VMX
	ClientCAs  string // mutual TLS when set
	// AttachKey is the engine's SSH private key in PEM, the other half of every
	// container's AuthorizedKey.
	AttachKey string `json:",omitempty"` // sealed in the VMX

	RegistryMirrors    []string // URLs tried in order before Docker Hub
	InsecureRegistries []string // host[:port] or CIDR
	RegistryCAs        string   // PEM

	// BuilderImage is the image that builds run in; empty: the engine's default.
	BuilderImage string
	// BuilderMemoryMB and BuilderCPUs are the size of the VM that builds run in; 0 is
	// the engine's default.
	BuilderMemoryMB int64
	BuilderCPUs     int

	// Debug 0 is off, 1 debug logs. DebugKey (authorized_keys form) opens SSH on
	// the client network's port 22.
	Debug    int
	DebugKey string

	// Policies is the text of the policy file whose rules are valid on all networks
	// (package policy); empty: none.
	Policies string
	// TagLabels are the label keys by whose values the VCH tags its VMs in vCenter;
	// none: it tags nothing.
	TagLabels []string

	// DockerSocket allows containers to have the Docker API's socket, and with it
	// the whole VCH.
	DockerSocket bool

	// VolumeStores by label: "[datastore] path", or "nfs://host/path?uid=&gid=".
	VolumeStores map[string]string

	DefaultMemoryMB int64
	DefaultCPUs     int
	RootSizeMB      int64 // capacity of a container's read-write disk
	// BootTimeout is how long a containerVM may take from power-on to its
	// process, in Go's notation ("90s"); empty is the port layer's default.
	BootTimeout string
	// CreatedPortGroup and CreatedSwitch name what create made and delete removes.
	CreatedPortGroup string
	CreatedSwitch    string
}

// VCHNetwork is one role's network.
type VCHNetwork struct {
	PortGroup string // vSphere name
	MAC       string // of the appliance's NIC on it; roles may share one
	IP        string // CIDR; empty is DHCP
	Gateway   string
	DNS       []string
}
