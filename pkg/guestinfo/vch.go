package guestinfo

import (
	"sort"

	"github.com/vic-engine/vic/pkg/spec"
)

// EncodeVCH gives the keys of an appliance. Password, ServerKey and AttachKey
// are left out unless they hold sealed values (see SealVCH): no clear secret
// ever reaches a VM's configuration.
func EncodeVCH(v spec.VCH) (map[string]string, error) {
	e := newEncoder(KindAppliance)
	encodeFields(e, "", vchFields(), &v)

	roles := make([]string, 0, len(v.Networks))
	for role := range v.Networks {
		roles = append(roles, role)
	}
	sort.Strings(roles)
	keys := uniqueKeys(roles)
	e.index(prefixRead, "networks", keys, "networks")
	for i, role := range roles {
		n := vchNetwork{Role: role, Net: v.Networks[role]}
		encodeFields(e, "networks|"+keys[i]+"/", vchNetworkFields(), &n)
	}

	names := make([]string, len(v.ContainerNetworks))
	for i, n := range v.ContainerNetworks {
		names[i] = n.Name
	}
	keys = uniqueKeys(names)
	e.index(prefixRead, "containernetworks", keys, "--container-network")
	for i := range v.ContainerNetworks {
		encodeFields(e, "containernetworks|"+keys[i]+"/", containerNetworkFields(), &v.ContainerNetworks[i])
	}
	return e.finish()
}

// DecodeVCH reads an appliance's configuration. Secrets come as stored: sealed,
// or empty when they have not been written yet (see UnsealVCH and MissingSecrets).
func DecodeVCH(get Getter) (spec.VCH, error) {
	var v spec.VCH
	if err := checkFormat(get, KindAppliance); err != nil {
		return v, err
	}
	if err := decodeFields(get, "", vchFields(), &v); err != nil {
		return v, err
	}
	var err error
	if v.ContainerNetworks, err = decodeMap(get, "containernetworks", containerNetworkFields()); err != nil {
		return v, err
	}
	nets, err := decodeMap(get, "networks", vchNetworkFields())
	if err != nil || len(nets) == 0 {
		return v, err
	}
	v.Networks = make(map[string]spec.VCHNetwork, len(nets))
	for _, n := range nets {
		v.Networks[n.Role] = n.Net
	}
	return v, nil
}

// MissingSecrets names the keys of the secrets that v needs and does not have:
// the password and the attach key always, the server key when it has TLS.
func MissingSecrets(v spec.VCH) []string {
	var keys []string
	if v.Password == "" {
		keys = append(keys, KeyPassword)
	}
	if v.AttachKey == "" {
		keys = append(keys, KeyAttachKey)
	}
	if v.ServerCert != "" && v.ServerKey == "" {
		keys = append(keys, KeyServerKey)
	}
	return keys
}
