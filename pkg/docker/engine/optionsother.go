package engine

// What requests have besides the fields of Config, HostConfig and an endpoint:
// nested objects, and the bodies that make networks and volumes. Their values are
// checked where they are used; this table is for docs/compatibility.md and for the
// test that finds a field in none.

func refuse(field, why string) Option { return Option{Field: field, How: Refused, Why: why} }

func otherOptions() []Option {
	out := healthOptions()
	out = append(out, mountOptions()...)
	out = append(out, networkOptions()...)
	return append(out, volumeOptions()...)
}

func healthOptions() []Option {
	return honoured("Healthcheck.", "Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
}

func mountOptions() []Option {
	out := honoured("Mount.", "Type", "Source", "Target", "ReadOnly", "VolumeOptions", "TmpfsOptions")
	out = append(out,
		// Nor has it an effect in Docker on Linux.
		Option{Field: "Mount.Consistency", How: Honoured},
		Option{Field: "Mount.BindOptions", How: Honoured},
		refuse("Mount.ImageOptions", "mounts of images: this version mounts volumes and tmpfs"),
		refuse("Mount.ClusterOptions", "volumes of Swarm: a VCH is no Swarm"),
	)
	out = append(out, honoured("VolumeOptions.", "NoCopy", "Labels", "Subpath", "DriverConfig")...)
	return append(out, honoured("TmpfsOptions.", "SizeBytes", "Mode", "Options")...)
}

func networkOptions() []Option {
	const swarm = "Swarm: a VCH is no Swarm"
	out := honoured("NetworkingConfig.", "EndpointsConfig")
	out = append(out, honoured("NetworkCreate.",
		"Name", "Driver", "Scope", "EnableIPv4", "EnableIPv6", "IPAM", "Internal", "Attachable", "Options", "Labels", "CheckDuplicate")...)
	return append(out,
		refuse("NetworkCreate.Ingress", "the ingress network of "+swarm),
		refuse("NetworkCreate.ConfigOnly", "networks that hold a configuration only"),
		refuse("NetworkCreate.ConfigFrom", "taking a network's configuration from another one"),
	)
}

func volumeOptions() []Option {
	return append(honoured("VolumeCreate.", "Name", "Driver", "DriverOpts", "Labels"),
		refuse("VolumeCreate.ClusterVolumeSpec", "volumes of Swarm: a VCH is no Swarm"))
}

// optionNotes tell what is particular about honoured fields, for the document.
func optionNotes() map[string]string {
	return map[string]string{
		"Config.ArgsEscaped":               "kept and shown; it has no effect on Linux in Docker either",
		"Config.Healthcheck":               "run by the VCH like an exec; when the VCH was restarted the status begins anew, as starting",
		"Config.OnBuild":                   "kept and shown",
		"Config.MacAddress":                "within vSphere's range for given addresses",
		"Endpoint.MacAddress":              "within vSphere's range for given addresses",
		"HostConfig.Privileged":            "all capabilities and devices of the container's own VM, which is the boundary",
		"HostConfig.Memory":                "the memory of the VM, at least 96 MiB, in steps of 4 MiB",
		"HostConfig.MemoryReservation":     "memory that vSphere keeps for the VM",
		"HostConfig.NanoCpus":              "virtual CPUs, rounded up; the fraction is a limit of the VM in MHz",
		"HostConfig.CpuQuota":              "as NanoCpus, with CpuPeriod",
		"HostConfig.CpuShares":             "shares of the VM in its pool",
		"HostConfig.CpuCount":              "virtual CPUs",
		"HostConfig.StorageOpt":            "size: the capacity of the container's own disk",
		"HostConfig.Runtime":               "vic; runc is taken for it, others are refused",
		"HostConfig.Isolation":             "default; others are refused as on any Linux",
		"HostConfig.UsernsMode":            "host or empty: no user namespace is remapped",
		"HostConfig.SecurityOpt":           "no-new-privileges, and the absence of a profile (seccomp=unconfined, apparmor=unconfined, label=disable); profiles are refused, since the guest applies none",
		"HostConfig.IpcMode":               "private, shareable and none; sharing with others is refused: " + ownKernel,
		"HostConfig.Devices":               "those that every containerVM has: /dev/fuse, /dev/net/tun, /dev/loop*, /dev/kmsg; others are refused",
		"HostConfig.MaskedPaths":           "Docker's list unless one is given",
		"HostConfig.ReadonlyPaths":         "Docker's list unless one is given",
		"HostConfig.LogConfig":             "json-file, local and none; labels, env, their patterns and tag are honoured, max-size, max-file, compress and mode=non-blocking answered with a warning; other drivers are refused",
		"HostConfig.Init":                  "a containerVM always has an init that reaps",
		"HostConfig.Mounts":                "volume and tmpfs, and bind of /var/run/docker.sock where the VCH allows it; other types are refused",
		"HostConfig.Binds":                 "volumes, and /var/run/docker.sock where the VCH allows it; other paths of a host are refused, since there is no host",
		"HostConfig.ExtraHosts":            "host-gateway is refused: a containerVM has no host to reach",
		"HostConfig.ContainerIDFile":       "written by the client",
		"HostConfig.Annotations":           "kept and shown; keys that begin with docker. are refused",
		"Mount.Type":                       "volume and tmpfs, and bind of /var/run/docker.sock where the VCH allows it",
		"Mount.BindOptions":                "of /var/run/docker.sock, the only bind: kept and shown, with no effect on a socket",
		"Mount.Consistency":                "kept and shown; it has no effect on Linux in Docker either",
		"NetworkCreate.Driver":             "bridge; see networks.md",
		"NetworkCreate.Scope":              "local or empty; swarm is refused",
		"NetworkCreate.EnableIPv4":         "true or absent; a network without IPv4 is refused",
		"NetworkCreate.IPAM":               "one subnet of each kind; other drivers and their options are refused",
		"NetworkCreate.CheckDuplicate":     "two networks never have one name",
		"VolumeCreate.Driver":              "vsphere, or local, which is the same; see volumes.md",
		"VolumeCreate.DriverOpts":          "see volumes.md; unknown ones are refused",
		"Endpoint.IPAMConfig":              "addresses of a subnet that was given when the network was made",
		"NetworkingConfig.EndpointsConfig": "any number of networks",
	}
}

// OptionNote tells what is particular about an honoured field; empty: nothing.
func OptionNote(field string) string { return optionNotes()[field] }

// OptionNotes is how many fields have a note.
func OptionNotes() int { return len(optionNotes()) }

// String is the treatment's name in docs/compatibility.md.
func (t Treatment) String() string {
	return map[Treatment]string{Honoured: "honoured", Warned: "warning", Refused: "refused", Output: "output, ignored in requests"}[t]
}
