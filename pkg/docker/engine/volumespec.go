package engine

import (
	"path"
	"slices"
	"strings"
)

// volumeSpec is one `-v` as understood: a volume, by name or anonymous, and
// where it is mounted how.
type volumeSpec struct {
	Name     string // empty: anonymous
	Path     string
	Mode     string // as given
	ReadOnly bool
	NoCopy   bool
}

const whyNoBinds = "a container is a virtual machine, there is no host whose folders it could have; use a volume (of host paths only /var/run/docker.sock can be bound, where the VCH allows it)"

// parseVolumeSpec reads "[NAME:]PATH[:MODE]" as -v and Dockerfiles have it.
func parseVolumeSpec(raw string) (volumeSpec, error) {
	bad := invalid("invalid volume specification: '%s'", raw)
	parts := strings.SplitN(raw, ":", 4)
	v := volumeSpec{}
	switch {
	case parts[0] == "":
		return v, bad
	case len(parts) == 1:
		v.Path = parts[0]
	case len(parts) == 2:
		if validMode(parts[1]) {
			return v, bad // an anonymous volume has no mode
		}
		v.Name, v.Path = parts[0], parts[1]
	case len(parts) == 3:
		v.Name, v.Path, v.Mode = parts[0], parts[1], parts[2]
	default:
		return v, bad
	}
	if !validMode(v.Mode) {
		return v, invalid("invalid mode: %s", v.Mode)
	}
	dst, err := mountPath(v.Path)
	if err != nil {
		return v, invalid("%v: invalid mount config for type \"volume\": %v", bad, err)
	}
	v.Path = dst
	if path.IsAbs(v.Name) || strings.HasPrefix(v.Name, ".") || strings.HasPrefix(v.Name, "~") {
		return v, notImplemented("not supported: bind mount %s: %s", raw, whyNoBinds)
	}
	for _, o := range strings.Split(v.Mode, ",") {
		switch {
		case o == "ro":
			v.ReadOnly = true
		case o == "nocopy":
			v.NoCopy = true
		case slices.Contains(propagations(), o):
			return v, invalid("%v: mount propagation (%s) is for bind mounts", bad, o)
		}
	}
	return v, nil
}

func propagations() []string {
	return []string{"private", "rprivate", "slave", "rslave", "shared", "rshared"}
}

// validMode tells whether a mode is one of Docker's, each kind of word at most
// once. The words for SELinux and for a Mac's file sharing have no effect.
func validMode(mode string) bool {
	if mode == "" {
		return true
	}
	kinds := [][]string{{"ro", "rw"}, {"z", "Z"}, propagations(), {"copy", "nocopy"}, {"consistent", "cached", "delegated"}}
	seen := make([]bool, len(kinds))
	for _, o := range strings.Split(mode, ",") {
		k := slices.IndexFunc(kinds, func(words []string) bool { return slices.Contains(words, o) })
		if k < 0 || seen[k] {
			return false
		}
		seen[k] = true
	}
	return true
}

// mountPath checks and cleans the destination of a mount.
func mountPath(dst string) (string, error) {
	if dst == "" {
		return "", invalid("field Target must not be empty")
	}
	if strings.ContainsRune(dst, 0) {
		return "", invalid("invalid mount path: %q holds a NUL", dst)
	}
	if path.Clean(dst) == "/" {
		return "", invalid("invalid specification: destination can't be '/'")
	}
	if !path.IsAbs(dst) {
		return "", invalid("invalid mount path: '%s' mount path must be absolute", dst)
	}
	return path.Clean(dst), nil
}

// parseVolumesFrom reads "CONTAINER[:MODE]".
func parseVolumesFrom(text string) (ref string, readOnly bool, err error) {
	ref, mode, _ := strings.Cut(text, ":")
	if ref == "" {
		return "", false, invalid("volumes-from specification cannot be an empty string")
	}
	words := strings.Split(mode, ",")
	if !validMode(mode) || slices.Contains(words, "copy") || slices.Contains(words, "nocopy") ||
		slices.ContainsFunc(words, func(w string) bool { return slices.Contains(propagations(), w) }) {
		return "", false, invalid("invalid mode: %s", mode)
	}
	return ref, slices.Contains(words, "ro"), nil
}
