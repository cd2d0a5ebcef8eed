package guestinfo

import "github.com/vic-engine/vic/pkg/spec"

func containerFields() []field[spec.Container] {
	type c = spec.Container
	return []field[c]{
		{name: "common/id", at: func(c *c) any { return &c.ID }, doc: "container id, 64 hex digits"},
		{name: "common/name", at: func(c *c) any { return &c.Name }, option: "--name", doc: "container name"},
		{name: "repo", at: func(c *c) any { return &c.Repo }, doc: "image reference as the user gave it"},
		{name: "imageid", at: func(c *c) any { return &c.ImageID }, doc: "digest of the image's configuration"},
		{name: "layers", at: func(c *c) any { return &c.Layers }, doc: "diff ids of the image, bottom first", hidden: true},
		{name: "createtime", at: func(c *c) any { return &c.Created }, doc: "when the container was made"},
		{name: "hostname", at: func(c *c) any { return &c.Hostname }, option: "--hostname", doc: "host name; unset: the id's first 12 digits"},
		{name: "domainname", at: func(c *c) any { return &c.Domainname }, option: "--domainname", doc: "domain name"},
		{name: "labels", at: func(c *c) any { return &c.Labels }, option: "--label", doc: "Docker labels", hidden: true},
		{name: "vch", at: func(c *c) any { return &c.VCH }, doc: "UUID of the VCH that owns the container", hidden: true},

		{name: "resources/cpus", at: func(c *c) any { return &c.Resources.CPUs }, option: "--cpus", doc: "virtual CPUs", hidden: true},
		{name: "resources/memorymb", at: func(c *c) any { return &c.Resources.MemoryMB }, option: "--memory", doc: "memory in MiB", hidden: true},
		{name: "resources/cpulimitmhz", at: func(c *c) any { return &c.Resources.CPULimitMHz }, doc: "CPU limit in MHz", hidden: true},
		{name: "resources/cpushares", at: func(c *c) any { return &c.Resources.CPUShares }, option: "--cpu-shares", doc: "CPU shares", hidden: true},
		{name: "resources/reservationmb", at: func(c *c) any { return &c.Resources.ReservationMB }, option: "--memory-reservation", doc: "reserved memory in MiB", hidden: true},
		{name: "resources/resize", at: func(c *c) any { return &c.Resources.Resize }, doc: "the VM has more CPUs or memory than that, until its next start", hidden: true},

		{name: "limits/memory", at: func(c *c) any { return &c.Limits.Memory }, option: "--memory", doc: "memory of the container's processes in bytes; unset: all that the VM has"},
		{name: "limits/memorylow", at: func(c *c) any { return &c.Limits.MemoryLow }, option: "--memory-reservation", doc: "memory that is taken from the processes last, in bytes"},
		{name: "limits/cpuquota", at: func(c *c) any { return &c.Limits.CPUQuota }, option: "--cpus", doc: "time on CPUs in each period, in microseconds; unset: no limit"},
		{name: "limits/cpuperiod", at: func(c *c) any { return &c.Limits.CPUPeriod }, option: "--cpu-period", doc: "that period in microseconds; unset: 100000"},
		{name: "limits/cpushares", at: func(c *c) any { return &c.Limits.CPUShares }, option: "--cpu-shares", doc: "CPU shares inside the guest"},
		{name: "limits/pids", at: func(c *c) any { return &c.Limits.Pids }, option: "--pids-limit", doc: "number of processes and threads; unset: no limit"},
		{name: "limits/oomscoreadj", at: func(c *c) any { return &c.Limits.OOMScoreAdj }, option: "--oom-score-adj", doc: "adjustment of the processes' OOM score, -1000 to 1000"},

		{name: "root/imagedisk", at: func(c *c) any { return &c.Root.ImageDisk }, doc: "datastore path of the image's read-only disk", hidden: true},
		{name: "root/sizemb", at: func(c *c) any { return &c.Root.SizeMB }, option: "--storage-opt size", doc: "capacity of the read-write disk in MiB", hidden: true},
		{name: "root/readonly", at: func(c *c) any { return &c.Root.ReadOnly }, option: "--read-only", doc: "the root filesystem is read-only"},
		{name: "root/imageunit", at: func(c *c) any { return &c.Root.ImageUnit }, doc: "SCSI unit of the image's disk"},
		{name: "root/upperunit", at: func(c *c) any { return &c.Root.UpperUnit }, doc: "SCSI unit of the read-write disk; unset: 0"},
		{name: "root/shmsize", at: func(c *c) any { return &c.Root.ShmSizeBytes }, option: "--shm-size", doc: "size of /dev/shm in bytes"},
		{name: "root/sysctls", at: func(c *c) any { return &c.Root.Sysctls }, option: "--sysctl", doc: "kernel parameters"},
		{name: "root/noshm", at: func(c *c) any { return &c.Root.NoShm }, option: "--ipc none", doc: "there is no /dev/shm"},
		{name: "root/ownpaths", at: func(c *c) any { return &c.Root.OwnPaths }, doc: "maskedpaths and readonlypaths count; unset: Docker's, unless privileged"},
		{name: "root/maskedpaths", at: func(c *c) any { return &c.Root.MaskedPaths }, option: "--security-opt systempaths", doc: "paths that are hidden"},
		{name: "root/readonlypaths", at: func(c *c) any { return &c.Root.ReadonlyPaths }, option: "--security-opt systempaths", doc: "paths that are read-only"},
		{name: "root/devices", at: func(c *c) any { return &c.Root.Devices }, option: "--device", doc: "devices made in /dev, path[:path in the container]"},

		{name: "dns/servers", at: func(c *c) any { return &c.DNS.Servers }, option: "--dns", doc: "name servers"},
		{name: "dns/search", at: func(c *c) any { return &c.DNS.Search }, option: "--dns-search", doc: "search domains"},
		{name: "dns/options", at: func(c *c) any { return &c.DNS.Options }, option: "--dns-option", doc: "resolver options"},
		{name: "hosts", at: func(c *c) any { return &c.Hosts }, option: "--add-host", doc: "extra lines of /etc/hosts, name:address"},
		{name: "nolog", at: func(c *c) any { return &c.NoLog }, option: "--log-driver none", doc: "nothing of the output is kept"},
		{name: "network/filter", at: func(c *c) any { return &c.NetworkFilter }, doc: "the guest lets nobody in before the engine has named its peers"},
		{name: "network/policy", at: func(c *c) any { return &c.NetworkPolicy }, doc: "nothing passes before the engine has sent the rules of policies"},
		{name: "authorizedkey", at: func(c *c) any { return &c.AuthorizedKey }, doc: "SSH public key of the engine, the only one accepted on the control line"},
	}
}

func sessionFields() []field[session] {
	type s = session
	return []field[s]{
		{name: "common/name", at: func(s *s) any { return &s.Name }, option: "--name", doc: "container name"},
		{name: "cmd/Path", at: func(s *s) any { return &s.Process.Path }, option: "the command", doc: "program"},
		{name: "cmd/Args", at: func(s *s) any { return &s.Process.Args }, option: "the command's arguments", doc: "arguments after the program's name"},
		{name: "cmd/Env", at: func(s *s) any { return &s.Process.Env }, option: "--env", doc: "environment, NAME=value"},
		{name: "cmd/Dir", at: func(s *s) any { return &s.Process.Dir }, option: "--workdir", doc: "working directory; unset: /"},
		{name: "cmd/User", at: func(s *s) any { return &s.Process.User }, option: "--user", doc: "user[:group], names or numbers"},
		{name: "cmd/Groups", at: func(s *s) any { return &s.Process.Groups }, option: "--group-add", doc: "supplementary groups"},
		{name: "tty", at: func(s *s) any { return &s.Process.TTY }, option: "--tty", doc: "the process has a terminal"},
		{name: "openstdin", at: func(s *s) any { return &s.Process.OpenStdin }, option: "--interactive", doc: "stdin stays open when nobody is attached"},
		{name: "stdinonce", at: func(s *s) any { return &s.Process.StdinOnce }, doc: "stdin closes when the first client goes"},
		{name: "attach", at: func(s *s) any { return &s.Process.Attach }, doc: "the process waits for the line, at most 30 s"},
		{name: "stopsignal", at: func(s *s) any { return &s.Process.StopSignal }, option: "--stop-signal", doc: "signal of a soft power-off; unset: SIGTERM"},
		{name: "rows", at: func(s *s) any { return &s.Process.Rows }, doc: "first height of the terminal"},
		{name: "cols", at: func(s *s) any { return &s.Process.Cols }, doc: "first width of the terminal"},
		{name: "privileged", at: func(s *s) any { return &s.Process.Privileged }, option: "--privileged", doc: "all capabilities"},
		{name: "capadd", at: func(s *s) any { return &s.Process.CapAdd }, option: "--cap-add", doc: "added capabilities"},
		{name: "capdrop", at: func(s *s) any { return &s.Process.CapDrop }, option: "--cap-drop", doc: "dropped capabilities"},
		{name: "nonewprivileges", at: func(s *s) any { return &s.Process.NoNewPrivileges }, option: "--security-opt no-new-privileges", doc: "no program gives the process more privileges"},
		{name: "rlimits", at: func(s *s) any { return &s.Process.Rlimits }, option: "--ulimit", doc: "limits by name, [soft,hard]"},
	}
}

func mountFields() []field[spec.Mount] {
	type m = spec.Mount
	return []field[m]{
		{name: "name", at: func(m *m) any { return &m.Name }, option: "--volume", doc: "volume name"},
		{name: "type", at: func(m *m) any { return &m.Type }, option: "--mount", doc: "volume, tmpfs, nfs or socket"},
		{name: "fstype", at: func(m *m) any { return &m.FSType }, option: "--volume", doc: "filesystem of the disk: ext4 (unset) or xfs"},
		{name: "subpath", at: func(m *m) any { return &m.SubPath }, option: "--mount", doc: "folder of the volume that is mounted; unset: its root"},
		{name: "path", at: func(m *m) any { return &m.Path }, option: "--volume", doc: "destination in the container"},
		{name: "source", at: func(m *m) any { return &m.Source }, option: "--volume", doc: "datastore path of the disk, host:/path, or the socket of the engine that is relayed"},
		{name: "unit", at: func(m *m) any { return &m.Unit }, doc: "SCSI unit of the disk"},
		{name: "mode", at: func(m *m) any { return &m.DiskMode }, option: "--opt attach-as", doc: "disk mode, when it is written to"},
		{name: "policy", at: func(m *m) any { return &m.Policy }, option: "--opt storage-policy", doc: "id of the disk's storage policy"},
		{name: "readonly", at: func(m *m) any { return &m.ReadOnly }, option: "--volume", doc: "mounted read-only"},
		{name: "nocopy", at: func(m *m) any { return &m.NoCopy }, option: "--volume", doc: "the image's data is not copied into a new volume"},
		{name: "options", at: func(m *m) any { return &m.Options }, option: "--tmpfs", doc: "mount options, comma separated"},
	}
}

func endpointFields() []field[spec.Endpoint] {
	type n = spec.Endpoint
	return []field[n]{
		{name: "name", at: func(n *n) any { return &n.Network }, option: "--network", doc: "network name"},
		{name: "id", at: func(n *n) any { return &n.NetworkID }, doc: "Docker network id"},
		{name: "portgroup", at: func(n *n) any { return &n.PortGroup }, doc: "vSphere network of the NIC"},
		{name: "mac", at: func(n *n) any { return &n.MAC }, option: "--mac-address", doc: "MAC address"},
		{name: "pcislot", at: func(n *n) any { return &n.PCISlot }, doc: "PCI slot number of the NIC: 192, 224, …"},
		{name: "ip", at: func(n *n) any { return &n.IP }, option: "--ip", doc: "address in CIDR form; unset: DHCP"},
		{name: "gateway", at: func(n *n) any { return &n.Gateway }, doc: "default route"},
		{name: "ip6", at: func(n *n) any { return &n.IP6 }, option: "--ip6", doc: "IPv6 address in CIDR form"},
		{name: "gateway6", at: func(n *n) any { return &n.Gateway6 }, doc: "IPv6 default route"},
		{name: "static", at: func(n *n) any { return &n.Static }, doc: "the address was asked for"},
		{name: "static6", at: func(n *n) any { return &n.Static6 }, doc: "the IPv6 address was asked for"},
		{name: "links", at: func(n *n) any { return &n.Links }, option: "--link", doc: "other names of other containers, container:alias"},
		{name: "aliases", at: func(n *n) any { return &n.Aliases }, option: "--network-alias", doc: "names of the container on this network"},
		{name: "ports", at: func(n *n) any { return &n.Ports }, option: "--publish", doc: "published ports, 8080:80/tcp; on a container network those of the container, 80/tcp"},
		{name: "trust", at: func(n *n) any { return (*string)(&n.Trust) }, doc: "container network: what the guest lets through, closed, outbound, peers, published or open"},
		{name: "peers", at: func(n *n) any { return &n.Peers }, doc: "container network: ranges that trust level peers lets in; unset: the subnet"},
	}
}

func vchFields() []field[spec.VCH] {
	type v = spec.VCH
	return []field[v]{
		{name: "common/name", at: func(v *v) any { return &v.Name }, option: "--name", doc: "VCH name"},
		{name: "common/id", at: func(v *v) any { return &v.UUID }, doc: "VCH UUID"},
		{name: "installer", at: func(v *v) any { return &v.Version }, doc: "vic version that installed the VCH"},

		{name: "connect/target", at: func(v *v) any { return &v.Target }, option: "--target", doc: "SDK URL as the appliance reaches it"},
		{name: "connect/thumbprint", at: func(v *v) any { return &v.Thumbprint }, option: "--thumbprint", doc: "thumbprint of the target's certificate"},
		{name: "connect/user", at: func(v *v) any { return &v.User }, option: "--user", doc: "user at the target"},
		{name: "connect/password", at: func(v *v) any { return &v.Password }, option: "--password", doc: "password at the target, sealed", secret: true},

		{name: "place/datacenter", at: func(v *v) any { return &v.Datacenter }, doc: "inventory path of the datacenter"},
		{name: "place/pool", at: func(v *v) any { return &v.Pool }, option: "--compute-resource", doc: "inventory path of the resource pool"},
		{name: "place/folder", at: func(v *v) any { return &v.Folder }, doc: "inventory path of the VM folder"},
		{name: "place/host", at: func(v *v) any { return &v.Host }, doc: "inventory path of a standalone host"},
		{name: "place/vm", at: func(v *v) any { return &v.VM }, doc: "managed object id of the appliance"},

		{name: "storage/images", at: func(v *v) any { return &v.ImageStore }, option: "--image-datastore", doc: "datastore path above VIC/<uuid>"},
		{name: "storage/home", at: func(v *v) any { return &v.HomeDir }, doc: "datastore folder of the appliance"},
		{name: "storage/bootstrap", at: func(v *v) any { return &v.BootstrapISO }, option: "--bootstrap-iso", doc: "datastore path of bootstrap.iso"},

		{name: "bridge/range", at: func(v *v) any { return &v.BridgeRange }, option: "--bridge-network-range", doc: "pool of bridge networks"},
		{name: "bridge/width", at: func(v *v) any { return &v.BridgeWidth }, option: "--bridge-network-width", doc: "prefix length of a bridge network"},

		{name: "tls/cert", at: func(v *v) any { return &v.ServerCert }, option: "--tls-server-cert", doc: "server certificate, PEM; unset: no TLS"},
		{name: "tls/key", at: func(v *v) any { return &v.ServerKey }, option: "--tls-server-key", doc: "server key, PEM, sealed", secret: true},
		{name: "tls/clientcas", at: func(v *v) any { return &v.ClientCAs }, option: "--tls-ca", doc: "certificate authorities of clients, PEM; set: mutual TLS"},
		{name: "attach/key", at: func(v *v) any { return &v.AttachKey }, doc: "SSH private key of the engine, PEM, sealed", secret: true},

		{name: "registry/mirrors", at: func(v *v) any { return &v.RegistryMirrors }, option: "--registry-mirror", doc: "mirrors of Docker Hub, URLs"},
		{name: "registry/insecure", at: func(v *v) any { return &v.InsecureRegistries }, option: "--insecure-registry", doc: "registries without TLS"},
		{name: "builder/image", at: func(v *v) any { return &v.BuilderImage }, option: "--builder-image", doc: "image that `docker build` runs in; empty: the engine's default"},
		{name: "builder/memorymb", at: func(v *v) any { return &v.BuilderMemoryMB }, option: "--builder-memory", doc: "memory of the VM that `docker build` runs in, in MiB; unset: 2048"},
		{name: "builder/cpus", at: func(v *v) any { return &v.BuilderCPUs }, option: "--builder-cpus", doc: "CPUs of that VM; unset: 2"},
		{name: "registry/cas", at: func(v *v) any { return &v.RegistryCAs }, option: "--registry-ca", doc: "certificate authorities of registries, PEM"},

		{name: "debug/level", at: func(v *v) any { return &v.Debug }, option: "--debug", doc: "0 is off, 1 debug logs"},
		{name: "debug/key", at: func(v *v) any { return &v.DebugKey }, option: "--authorized-key", doc: "SSH public key for debugging; unset: no SSH"},

		{name: "docker/socket", at: func(v *v) any { return &v.DockerSocket }, option: "--docker-socket", doc: "containers may bind /var/run/docker.sock, which reaches the Docker API; unset: they may not"},
		{name: "policies", at: func(v *v) any { return &v.Policies }, option: "--policy-file", doc: "policies of all networks, as the file that create was given has them; unset: none"},
		{name: "tags/labels", at: func(v *v) any { return &v.TagLabels }, option: "--tag-labels", doc: "label keys by whose values containerVMs are tagged in vCenter; unset: no tags"},
		{name: "volumestores", at: func(v *v) any { return &v.VolumeStores }, option: "--volume-store", doc: "volume stores by label"},
		{name: "defaults/memorymb", at: func(v *v) any { return &v.DefaultMemoryMB }, doc: "memory of a container in MiB"},
		{name: "defaults/cpus", at: func(v *v) any { return &v.DefaultCPUs }, doc: "CPUs of a container"},
		{name: "defaults/rootsizemb", at: func(v *v) any { return &v.RootSizeMB }, option: "--base-image-size", doc: "read-write disk of a container in MiB"},
		{name: "defaults/boottimeout", at: func(v *v) any { return &v.BootTimeout }, option: "--container-boot-timeout", doc: "how long a containerVM may take to its process; unset: 3m"},
		{name: "created/portgroup", at: func(v *v) any { return &v.CreatedPortGroup }, doc: "port group that create made and delete removes"},
		{name: "created/switch", at: func(v *v) any { return &v.CreatedSwitch }, doc: "virtual switch that create made and delete removes"},
	}
}

// vchNetwork is one entry of VCH.Networks with its role.
type vchNetwork struct {
	Role string
	Net  spec.VCHNetwork
}

func containerNetworkFields() []field[spec.ContainerNetwork] {
	type n = spec.ContainerNetwork
	return []field[n]{
		{name: "name", at: func(n *n) any { return &n.Name }, option: "--container-network", doc: "name of the container network"},
		{name: "portgroup", at: func(n *n) any { return &n.PortGroup }, option: "--container-network", doc: "vSphere network of the containers' NICs"},
		{name: "gateway", at: func(n *n) any { return &n.Gateway }, option: "--container-network-gateway", doc: "default route with the subnet's length; unset: DHCP"},
		{name: "ranges", at: func(n *n) any { return &n.Ranges }, option: "--container-network-ip-range", doc: "what addresses are given from; unset: the subnet"},
		{name: "dns", at: func(n *n) any { return &n.DNS }, option: "--container-network-dns", doc: "name servers"},
		{name: "trust", at: func(n *n) any { return (*string)(&n.Trust) }, option: "--container-network-firewall", doc: "trust level of containers there"},
	}
}

func vchNetworkFields() []field[vchNetwork] {
	type n = vchNetwork
	return []field[n]{
		{name: "role", at: func(n *n) any { return &n.Role }, doc: "external, bridge, client or management"},
		{name: "portgroup", at: func(n *n) any { return &n.Net.PortGroup }, option: "the network", doc: "vSphere network of the NIC"},
		{name: "mac", at: func(n *n) any { return &n.Net.MAC }, doc: "MAC address of the appliance's NIC"},
		{name: "ip", at: func(n *n) any { return &n.Net.IP }, option: "the static address", doc: "address in CIDR form; unset: DHCP"},
		{name: "gateway", at: func(n *n) any { return &n.Net.Gateway }, doc: "default route"},
		{name: "dns", at: func(n *n) any { return &n.Net.DNS }, option: "--dns-server", doc: "name servers"},
	}
}
