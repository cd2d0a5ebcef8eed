package guestinfo

import "sort"

// KeyDoc describes one key for docs/state.md.
type KeyDoc struct {
	Key    string // with <id>, <mount>, <network> for the entries of collections
	Type   string
	Writer string // "vSphere API" or "guest"
	Sealed bool
	VM     string // "container", "appliance" or "both"
	Doc    string
}

// Keys lists every key that the project uses, sorted by VM and key.
func Keys() []KeyDoc {
	all := []KeyDoc{
		{Key: KeyVersion, Type: "integer", VM: "both", Doc: "version of the key format"},
		{Key: KeyKind, Type: "text", VM: "both", Doc: "container or appliance"},
		{Key: KeyMode, Type: "text", VM: KindContainer, Doc: "maintenance: the next boot serves the container's files and starts no process; unset: normal"},
		{Key: prefixRead + "sessions", Type: "JSON list", VM: KindContainer, Doc: "index of sessions|<id>"},
		{Key: prefixRead + "mounts", Type: "JSON list", VM: KindContainer, Doc: "index of mounts|<mount>, in order"},
		{Key: prefixRead + "networks", Type: "JSON list", VM: "both", Doc: "index of networks|<network>, in order (appliance: roles)"},
		{Key: prefixRead + "containernetworks", Type: "JSON list", VM: KindAppliance, Doc: "index of containernetworks|<network>"},
		{Key: prefixHidden + "annotations", Type: "JSON list", VM: KindContainer, Doc: "index of annotations|<name>"},
		{Key: prefixHidden + "annotations|<name>", Type: "text", VM: KindContainer, Doc: "what only the Docker engine understands"},
	}
	for i := range all {
		all[i].Writer = "vSphere API"
	}
	all = append(all, describe(KindContainer, "", containerFields())...)
	all = append(all, describe(KindContainer, "sessions|<id>/", sessionFields())...)
	all = append(all, describe(KindContainer, "mounts|<mount>/", mountFields())...)
	all = append(all, describe(KindContainer, "networks|<network>/", endpointFields())...)
	all = append(all, describe(KindAppliance, "", vchFields())...)
	all = append(all, describe(KindAppliance, "networks|<role>/", vchNetworkFields())...)
	all = append(all, describe(KindAppliance, "containernetworks|<network>/", containerNetworkFields())...)
	all = append(all, guestKeys()...)
	sort.SliceStable(all, func(i, j int) bool {
		if all[i].VM != all[j].VM {
			return all[i].VM < all[j].VM
		}
		return all[i].Key < all[j].Key
	})
	return all
}

func describe[T any](vm, path string, fields []field[T]) []KeyDoc {
	var zero T
	docs := make([]KeyDoc, len(fields))
	for i, f := range fields {
		docs[i] = KeyDoc{
			Key: f.key(path), Type: typeName(f.at(&zero)), Writer: "vSphere API",
			Sealed: f.secret, VM: vm, Doc: f.doc,
		}
	}
	return docs
}

func guestKeys() []KeyDoc {
	const when = "time (RFC 3339, UTC)"
	s := prefixGuest + "sessions|<id>."
	docs := []KeyDoc{
		{Key: s + "started", Type: when, VM: KindContainer, Doc: "when the process started"},
		{Key: s + "pid", Type: "integer", VM: KindContainer, Doc: "its process id in the guest, while it runs"},
		{Key: s + "status", Type: "integer", VM: KindContainer, Doc: "exit code; 128+n for signal n"},
		{Key: s + "signal", Type: "integer", VM: KindContainer, Doc: "signal that ended it"},
		{Key: s + "error", Type: "text", VM: KindContainer, Doc: "why it could not start"},
		{Key: s + "paused", Type: "bool", VM: KindContainer, Doc: "its processes are frozen"},
		{Key: s + "oom", Type: "bool", VM: KindContainer, Doc: "the kernel killed it, or a process beside it, for want of memory"},
		{Key: s + "stoptime", Type: when, VM: KindContainer, Doc: "when it ended; written last"},
		{Key: prefixGuest + "networks|<network>.assigned.ip", Type: "text", VM: "both", Doc: "address in CIDR form"},
		{Key: KeyHostKey, Type: "text", VM: KindContainer, Doc: "SSH public key of this boot's tether"},
		{Key: KeyBootID, Type: "text", VM: KindContainer, Doc: "id of this boot"},
		{Key: KeyTetherState, Type: "text", VM: "both", Doc: "what tether is doing, or why the boot failed"},
		{Key: KeySealKey, Type: "text", VM: KindAppliance, Doc: "public X25519 key for secrets, base64"},
		{Key: KeyEngineState, Type: "text", VM: KindAppliance, Doc: "STARTING, RUNNING or FAILED: reason"},
		{Key: KeyPorts, Type: "JSON list", VM: KindAppliance, Doc: "ports published for running containers, 80/tcp"},
	}
	for i := range docs {
		docs[i].Writer = "guest"
	}
	return docs
}
