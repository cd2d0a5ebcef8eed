package layers

import (
	"encoding/binary"
	"fmt"
	"strings"
)

const (
	paxXattr = "SCHILY.xattr."

	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// xattrs takes the extended attributes of a header. Names that Linux cannot
// keep (macOS puts some into tars) are left out and counted, and so is what
// overlayfs would take for its own bookkeeping.
func (t *Tree) xattrs(f *file, pax map[string]string) error {
	total := 0
	for k, v := range pax {
		name, ok := strings.CutPrefix(k, paxXattr)
		if !ok {
			continue
		}
		if !keepable(name) {
			if len(t.dropped) < 100 {
				t.dropped[fmt.Sprintf("%.64s", name)]++
			}
			continue
		}
		if total += len(name) + len(v); total > maxXattrs {
			return invalid("more than %d bytes of extended attributes", maxXattrs)
		}
		if name == aclAccess || name == aclDefault {
			acl, err := diskACL(v)
			if err != nil {
				return invalid("extended attribute %s: %v", name, err)
			}
			v = acl
		}
		if f.xattrs == nil {
			f.xattrs = map[string]string{}
		}
		f.xattrs[name] = v
	}
	if total == 0 {
		return nil
	}
	return t.spend(total)
}

func keepable(name string) bool {
	if name == aclAccess || name == aclDefault {
		return true
	}
	if len(name) > maxName || strings.ContainsAny(name, "=\x00") || strings.HasPrefix(name, "trusted.overlay.") {
		return false
	}
	for _, p := range []string{"user.", "trusted.", "security."} {
		if rest, ok := strings.CutPrefix(name, p); ok && rest != "" {
			return true
		}
	}
	return false
}

// diskACL turns an access list from the form that system calls use (uapi
// linux/posix_acl_xattr.h) into the one that ext4 keeps on disk (fs/ext4/acl.h
// of Linux): another version, and no id for entries that have none.
func diskACL(v string) (string, error) {
	b := []byte(v)
	if len(b) < 4 || (len(b)-4)%8 != 0 || binary.LittleEndian.Uint32(b) != 2 {
		return "", fmt.Errorf("not an access list of version 2")
	}
	out := binary.LittleEndian.AppendUint32(nil, 1)
	for b = b[4:]; len(b) > 0; b = b[8:] {
		out = append(out, b[:4]...)
		switch tag := binary.LittleEndian.Uint16(b); tag {
		case 0x01, 0x04, 0x10, 0x20: // owner, group, mask, others
		case 0x02, 0x08: // a user, a group
			out = append(out, b[4:8]...)
		default:
			return "", fmt.Errorf("entry of type %#x", tag)
		}
	}
	return string(out), nil
}
