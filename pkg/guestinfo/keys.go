package guestinfo

import (
	"fmt"
	"strings"
)

// The three key forms.
const (
	prefixRead   = "guestinfo./"
	prefixGuest  = "guestinfo.."
	prefixHidden = "vic./"
)

// Keys that others name one by one.
const (
	// KeyVersion holds spec.FormatVersion; KeyKind one of the Kind constants.
	KeyVersion = prefixRead + "version"
	KeyKind    = prefixRead + "kind"
	// KeyID and KeyName are the container's id and name (UUID and name of a VCH).
	KeyID   = prefixRead + "common/id"
	KeyName = prefixRead + "common/name"
	// KeyVCH is the UUID of the VCH that owns a container; hidden.
	KeyVCH = prefixHidden + "vch"
	// KeyCreated is when a container was made; KeyImageID its image.
	KeyCreated = prefixRead + "createtime"
	KeyImageID = prefixRead + "imageid"

	// KeyPassword, KeyServerKey and KeyAttachKey are the VCH's secrets. They are
	// sealed or absent.
	KeyPassword  = prefixRead + "connect/password"
	KeyServerKey = prefixRead + "tls/key"
	KeyAttachKey = prefixRead + "attach/key"

	// KeyMode asks the guest for a special boot; empty is the normal one. See
	// the Mode constants.
	KeyMode = prefixRead + "mode"

	// KeyHostKey is the public SSH key of this boot's tether in authorized_keys
	// form, written before the line says Hello.
	KeyHostKey = prefixGuest + "tether.hostkey"
	// KeyBootID is the id of this boot, as in the line's Hello.
	KeyBootID = prefixGuest + "tether.bootid"
	// KeyTetherState is what tether is doing, in words for an administrator; it
	// carries the reason when a boot failed.
	KeyTetherState = prefixGuest + "tether.state"
	// KeySealKey is the appliance's public X25519 key, base64.
	KeySealKey = prefixGuest + "seal.key"
	// KeyEngineState is STARTING, RUNNING or "FAILED: reason".
	KeyEngineState = prefixGuest + "engine.state"
	// KeyPorts is what the appliance publishes for running containers, a JSON
	// list like ["53/udp","80/tcp"].
	KeyPorts = prefixGuest + "ports"
)

// The kinds of VM.
const (
	KindContainer = "container"
	KindAppliance = "appliance"
)

// ModeMaintenance is the value of KeyMode that boots a containerVM without its
// session, to serve files of a stopped container.
const ModeMaintenance = "maintenance"

// AssignedIPKey is where the guest reports the address (CIDR form) that it has
// on a network.
func AssignedIPKey(network string) string {
	return prefixGuest + "networks|" + escapeKey(network) + ".assigned.ip"
}

// sessionKey is a guest-written key of one session.
func sessionKey(id, name string) string {
	return prefixGuest + "sessions|" + escapeKey(id) + "." + name
}

// Owned reports whether key belongs to the project and is written from outside
// the guest: Diff deletes no other.
func Owned(key string) bool {
	return strings.HasPrefix(key, prefixRead) || strings.HasPrefix(key, prefixHidden)
}

// escapeKey makes a map key fit for a VMX key: everything but letters, digits,
// dot, dash and underscore becomes %XX of its bytes.
func escapeKey(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = keyByte(s[i])
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if keyByte(s[i]) {
			b.WriteByte(s[i])
			continue
		}
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func keyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '.' || c == '-' || c == '_'
}

// unescapeKey reverses escapeKey; ok is false for what escapeKey never makes.
func unescapeKey(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := hexDigit(s[i+1]), hexDigit(s[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), true
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
