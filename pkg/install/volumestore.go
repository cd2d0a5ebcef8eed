package install

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/nfs"
	"github.com/vic-engine/vic/pkg/spec"
)

// VolumeStore is one place for volumes, as --volume-store names it.
type VolumeStore struct {
	Label          string // what `docker volume create --opt VolumeStore=` names
	Datastore, Dir string
	Share          nfs.Share // instead of a datastore, when it has a Host
}

// labelPattern is what a label may be made of: it is a value of Docker's driver
// options and a key of the VCH's configuration.
var labelPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

// ParseVolumeStore reads "datastore[/path]:label", also with ds:// before it and
// as "[datastore] path:label", and "nfs://host/path?uid=&gid=&port=:label". Errors (ErrInvalidArgument) name the text and
// what would do.
func ParseVolumeStore(text string) (VolumeStore, error) {
	bad := func(format string, args ...any) (VolumeStore, error) {
		return VolumeStore{}, fmt.Errorf("%q: %s: want datastore[/path]:label or nfs://host/path:label: %w", text, fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
	}
	i := strings.LastIndex(text, ":")
	if i < 0 || strings.Contains(text[i:], "/") {
		return bad("there is no label")
	}
	place, v := text[:i], VolumeStore{Label: text[i+1:]}
	if !labelPattern.MatchString(v.Label) {
		return bad("the label %q must be of letters, digits, dots, dashes and underscores", v.Label)
	}
	if nfs.IsShare(place) {
		share, err := nfs.Parse(place)
		if err != nil {
			return VolumeStore{}, err
		}
		v.Share = share
		return v, nil
	}
	if rest, ok := strings.CutPrefix(place, "["); ok {
		name, dir, closed := strings.Cut(rest, "]")
		if !closed {
			return bad("the bracket is not closed")
		}
		place = name + "/" + strings.TrimSpace(dir)
	}
	v.Datastore, v.Dir = SplitImageDatastore(place)
	if v.Datastore == "" {
		return bad("there is no datastore")
	}
	for _, part := range strings.Split(v.Dir, "/") {
		if part == ".." || part == "." || strings.ContainsAny(part, "[]\\") {
			return bad("the path %q cannot be used", v.Dir)
		}
	}
	return v, nil
}

// volumeStoreLines are the volume stores of a VCH, "label: [datastore] path".
func volumeStoreLines(v spec.VCH) []string {
	var out []string
	for _, label := range slices.Sorted(maps.Keys(v.VolumeStores)) {
		out = append(out, label+": "+v.VolumeStores[label])
	}
	return out
}

// volumeStores finds the datastores of the stores that are not NFS shares.
func (r *resolver) volumeStores() {
	for _, text := range r.o.VolumeStores {
		v, err := ParseVolumeStore(text)
		if err != nil {
			continue // checkValues has said so
		}
		if v.Share.Host != "" {
			// Only the VCH's networks tell whether it can be reached.
			r.volumeStore(v.Label, v.Share.String())
			continue
		}
		found := false
		for _, d := range r.s.Datastores {
			if d.Name != v.Datastore {
				continue
			}
			found = true
			switch {
			case !d.Accessible:
				r.is.choose(r.s.datastoreNames(), "--volume-store", "%q: datastore %q is not accessible", text, v.Datastore)
			case r.found && !r.sees(d.Hosts):
				r.is.choose(r.s.datastoreNames(), "--volume-store", "%q: datastore %q is seen by no usable host of %s", text, v.Datastore, r.c.Compute.Path)
			}
		}
		if !found {
			r.is.choose(r.s.datastoreNames(), "--volume-store", "%q: datastore %q does not exist", text, v.Datastore)
			continue
		}
		r.volumeStore(v.Label, dsPath(v.Datastore, v.Dir))
	}
}

func (r *resolver) volumeStore(label, place string) {
	if r.c.VCH.VolumeStores == nil {
		r.c.VCH.VolumeStores = map[string]string{}
	}
	r.c.VCH.VolumeStores[label] = place
}
