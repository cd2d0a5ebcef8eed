package tether

import (
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// shortID is how much of a container's id Docker shows.
const shortID = 12

// hostnameOf is the guest's name: what the user chose, else the short id.
func hostnameOf(c spec.Container) string {
	if c.Hostname != "" {
		return c.Hostname
	}
	if len(c.ID) > shortID {
		return c.ID[:shortID]
	}
	return c.ID
}

// applianceHostname makes a host name of a VCH's display name: lower-case
// letters, digits and dashes (RFC 1123), at most 63.
func applianceHostname(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if b.Len() > 0 {
			b.WriteByte('-')
		}
		if b.Len() == 63 {
			break
		}
	}
	if s := strings.Trim(b.String(), "-"); s != "" {
		return s
	}
	return "vch"
}
