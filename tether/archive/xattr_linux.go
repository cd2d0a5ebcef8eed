package archive

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// schily is how extended attributes are called in a tar.
const schily = "SCHILY.xattr."

// kept tells whether an attribute belongs to a file and not to the machine it is
// on: capabilities, as in Docker's archives, and the users' own.
func kept(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.")
}

// attributes are a file's extended attributes as records of a tar; nil when it
// has none.
func attributes(p string) (map[string]string, error) {
	names, err := list(p)
	if err != nil {
		return nil, err
	}
	var out map[string]string
	for _, name := range names {
		if !kept(name) {
			continue
		}
		v, err := attribute(p, name)
		if errors.Is(err, unix.ENODATA) || gone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %s of %s: %w", name, p, err)
		}
		if out == nil {
			out = map[string]string{}
		}
		out[schily+name] = string(v)
	}
	return out, nil
}

func list(p string) ([]string, error) {
	for {
		n, err := unix.Llistxattr(p, nil)
		if errors.Is(err, unix.ENOTSUP) || gone(err) || err == nil && n == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("attributes of %s: %w", p, err)
		}
		b := make([]byte, n)
		n, err = unix.Llistxattr(p, b)
		if errors.Is(err, unix.ERANGE) {
			continue // one more came meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("attributes of %s: %w", p, err)
		}
		return strings.Split(strings.TrimSuffix(string(b[:n]), "\x00"), "\x00"), nil
	}
}

func attribute(p, name string) ([]byte, error) {
	for {
		n, err := unix.Lgetxattr(p, name, nil)
		if err != nil {
			return nil, err
		}
		b := make([]byte, n)
		if n == 0 {
			return b, nil
		}
		n, err = unix.Lgetxattr(p, name, b)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return b[:n], nil
	}
}

// setAttributes gives a file those of a tar. What its filesystem does not know,
// or we may not set, is left out, as Docker does.
func setAttributes(p string, records map[string]string) error {
	for k, v := range records {
		name, ok := strings.CutPrefix(k, schily)
		if !ok {
			continue
		}
		err := unix.Lsetxattr(p, name, []byte(v), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("attribute %s of %s: %w", name, p, err)
		}
	}
	return nil
}
