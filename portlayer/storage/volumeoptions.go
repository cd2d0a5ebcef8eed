package storage

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"

	"github.com/vic-engine/vic/pkg/disk/ext4"
	"github.com/vic-engine/vic/pkg/spec"
)

// What a volume is when nothing else is asked for.
const (
	defaultDriver     = "vsphere"
	localDriver       = "local"
	defaultStore      = "default"
	defaultCapacity   = 1 << 30
	accessReadWrite   = "read-write"
	accessReadOnly    = "read-only"
	attachIndependent = "independent_persistent"
	attachDependent   = "persistent"
	formatThin        = "thin"
	fsExt4            = "ext4"
	fsXFS             = "xfs"
	fsNFS             = "nfs" // not to be chosen: what a share has
)

// minXFS is the least that mkfs.xfs makes: less is for tests only, it says.
const minXFS = 300 << 20

// maxVolume is the largest ext4 with 4 KiB blocks and 32-bit block numbers,
// which is what the blank has.
const maxVolume = 16<<40 - 1<<20

// maxVolumeName leaves room for what vSphere puts behind a disk's name.
const maxVolumeName = 200

// volumeOptions are a request's options as understood.
type volumeOptions struct {
	capacity               int64 // 0: not given
	store                  string
	fstype                 string // empty: not given
	format, access, attach string
	cloneFrom, policy      string
}

// optionNames are the options by their lower-case names, with what they take.
func optionNames() map[string]string {
	return map[string]string{
		"capacity": "size, \"10GB\" (a number alone: MB)", "size": "the same as Capacity",
		"volumestore": "label of a volume store", "diskformat": "thin, zeroedthick or eagerzeroedthick",
		"fstype": "ext4 or xfs", "access": "read-write or read-only", "clone-from": "name of a volume",
		"attach-as": "independent_persistent or persistent", "storage-policy": "name of a storage policy of vCenter",
		"vsan-policy-name": "the same as storage-policy",
	}
}

// parseVolumeOptions reads what `docker volume create --opt` gave. All problems
// are told at once.
func parseVolumeOptions(given map[string]string) (volumeOptions, error) {
	o := volumeOptions{format: formatThin, access: accessReadWrite, attach: attachIndependent}
	seen := map[string]string{}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		key, value := strings.ToLower(name), strings.TrimSpace(given[name])
		if first, ok := seen[key]; ok {
			bad("volume option %s is given twice, as %s too", name, first)
			continue
		}
		seen[key] = name
		choose := func(to *string, from ...string) {
			for _, f := range from {
				if strings.EqualFold(value, f) {
					*to = f
					return
				}
			}
			bad("volume option %s=%s: it is one of %s", name, value, strings.Join(from, ", "))
		}
		switch key {
		case "capacity", "size":
			n, err := ParseCapacity(value)
			switch {
			case err != nil:
				bad("volume option %s=%s: %w", name, value, err)
			case o.capacity != 0 && o.capacity != n:
				bad("volume options Capacity and size are the same, but differ here")
			default:
				o.capacity = n
			}
		case "volumestore":
			if o.store = value; value == "" {
				bad("volume option %s is empty", name)
			}
		case "diskformat":
			choose(&o.format, formatThin, "zeroedthick", "eagerzeroedthick")
		case "fstype":
			choose(&o.fstype, fsExt4, fsXFS)
		case "access":
			choose(&o.access, accessReadWrite, accessReadOnly)
		case "attach-as":
			choose(&o.attach, attachIndependent, attachDependent)
		case "clone-from":
			if o.cloneFrom = value; !validVolumeName(value) {
				bad("volume option %s=%s: it is not the name of a volume", name, value)
			}
		case "vsan-policy-name", "storage-policy":
			switch {
			case value == "":
				bad("volume option %s is empty", name)
			case o.policy != "" && o.policy != value:
				bad("volume options storage-policy and vsan-policy-name are the same, but differ here")
			default:
				o.policy = value
			}
		default:
			bad("unknown volume option %s; there are %s", name, knownOptions())
		}
	}
	if o.fstype == fsXFS && o.capacity > 0 && o.capacity < minXFS {
		bad("volume option Capacity: xfs needs %s at least", units.BytesSize(minXFS))
	}
	if len(errs) > 0 {
		return o, fmt.Errorf("%w: %w", errors.Join(errs...), errdefs.ErrInvalidArgument)
	}
	return o, nil
}

// checkShare refuses what only a disk has.
func checkShare(s *volumeStore, given map[string]string) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(given)) {
		switch strings.ToLower(name) {
		case "volumestore", "access":
		case "capacity", "size":
			errs = append(errs, fmt.Errorf("volume option %s: a volume of it is a folder, which has what room there is on the server", name))
		default:
			errs = append(errs, fmt.Errorf("volume option %s: a volume of it is a folder and not a disk", name))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("volume store %q is the NFS share %s: %w: %w", s.label, s.share.Place(), errors.Join(errs...), errdefs.ErrInvalidArgument)
	}
	return nil
}

func knownOptions() string {
	var out []string
	for name := range optionNames() {
		out = append(out, name)
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

// ParseCapacity reads a volume's size: "10GB", "512m", or a number of MB. Units
// are binary, and what is not a whole MB is rounded up.
func ParseCapacity(s string) (int64, error) {
	text := s
	if _, err := strconv.ParseUint(s, 10, 64); err == nil {
		text = s + "m"
	}
	n, err := units.RAMInBytes(text)
	// A number that does not fit comes out as something else, so that it is
	// compared as it was read.
	if err != nil || strings.ContainsAny(s, "eExX+_") {
		return 0, fmt.Errorf("a size is a number of MB, or one with a unit as in 10GB: %w", errdefs.ErrInvalidArgument)
	}
	return checkCapacity(n)
}

func checkCapacity(n int64) (int64, error) {
	if n > maxVolume || n < 0 {
		return 0, fmt.Errorf("a volume has %s at most: %w", units.BytesSize(maxVolume), errdefs.ErrInvalidArgument)
	}
	if n < ext4.MinBlank {
		return 0, fmt.Errorf("a volume has %s at least: %w", units.BytesSize(ext4.MinBlank), errdefs.ErrInvalidArgument)
	}
	const mb = 1 << 20
	return (n + mb - 1) / mb * mb, nil
}

var volumeName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

func validVolumeName(name string) bool {
	return len(name) <= maxVolumeName && volumeName.MatchString(name)
}

// checkName refuses names that Docker refuses.
func checkName(name string) error {
	if validVolumeName(name) {
		return nil
	}
	return fmt.Errorf("volume name %q is not valid: it has 2 to %d letters, digits, and \"_\", \".\", \"-\", and begins with a letter or digit: %w",
		name, maxVolumeName, errdefs.ErrInvalidArgument)
}

// checkDriver takes the names that stand for this engine's volumes.
func checkDriver(name string) (string, error) {
	switch name {
	case "", defaultDriver:
		return defaultDriver, nil
	case localDriver:
		return localDriver, nil
	}
	return "", fmt.Errorf("volume driver %q is not known, there are %s and %s: %w", name, defaultDriver, localDriver, errdefs.ErrNotFound)
}

// agrees tells whether a request is for the volume that exists. A request
// without options asks for any.
func (r *volumeRecord) agrees(q spec.VolumeRequest) bool {
	if len(q.Options) == 0 {
		return true
	}
	return fmt.Sprint(lowered(r.Options)) == fmt.Sprint(lowered(q.Options))
}

func lowered(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		k, v = strings.ToLower(k), strings.TrimSpace(v)
		if k == "size" {
			k = "capacity"
		}
		if n, err := ParseCapacity(v); k == "capacity" && err == nil {
			v = strconv.FormatInt(n, 10)
		}
		out[k] = v
	}
	return out
}
