package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Files is the datastore that networks are kept on. Implemented by
// vsphere.Datastore.
type Files interface {
	Put(ctx context.Context, path string, r io.Reader, size int64) error
	Get(ctx context.Context, path string, offset int64) (io.ReadCloser, int64, error)
	List(ctx context.Context, dir string) ([]spec.DatastoreEntry, error)
	Mkdir(ctx context.Context, dir string) error
	Move(ctx context.Context, from, to string) error
	Delete(ctx context.Context, path string) error
}

const (
	suffix = ".json"
	// half marks a file that is being written: it is renamed when it is whole.
	half = ".new"
	// recordVersion is the version of the files that this program writes.
	recordVersion = 1
	// maxRecord bounds what is read of one file.
	maxRecord = 1 << 20
)

// record is one network's file.
type record struct {
	Version int
	Network spec.Network
}

// Store keeps networks as files of one folder, one each.
type Store struct {
	files Files
	dir   string
}

// NewStore keeps networks in a datastore folder.
func NewStore(files Files, dir string) *Store { return &Store{files: files, dir: dir} }

// Save writes a network's file: it is there as a whole, or not at all.
func (s *Store) Save(ctx context.Context, n spec.Network) error {
	b, err := json.MarshalIndent(record{recordVersion, n}, "", "  ")
	if err != nil {
		return fmt.Errorf("keep network %s: %w", n.Name, err)
	}
	p := s.path(n.ID)
	if err := s.files.Put(ctx, p+half, bytes.NewReader(b), int64(len(b))); err != nil {
		return fmt.Errorf("keep network %s: %w", n.Name, err)
	}
	if err := s.files.Move(ctx, p+half, p); err != nil {
		return fmt.Errorf("keep network %s: %w", n.Name, err)
	}
	return nil
}

// Delete removes a network's file, also a half-written one. None is no error.
func (s *Store) Delete(ctx context.Context, id string) error {
	for _, p := range []string{s.path(id), s.path(id) + half} {
		if err := s.files.Delete(ctx, p); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove file of network %s: %w", id, err)
		}
	}
	return nil
}

// Load reads all networks, the oldest first, and removes what a Save that was
// cut off has left. A file that cannot be used is in damaged.
func (s *Store) Load(ctx context.Context) (all []spec.Network, damaged []Damaged, err error) {
	if err := s.files.Mkdir(ctx, s.dir); err != nil {
		return nil, nil, fmt.Errorf("folder of networks: %w", err)
	}
	entries, err := s.files.List(ctx, s.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list networks: %w", err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name, suffix+half) {
			if err := s.files.Delete(ctx, s.dir+"/"+e.Name); err != nil {
				return nil, nil, fmt.Errorf("remove half-made network %s: %w", e.Name, err)
			}
			continue
		}
		id, ok := strings.CutSuffix(e.Name, suffix)
		if !ok || e.Dir {
			continue
		}
		b, err := s.read(ctx, s.path(id))
		if errors.Is(err, context.Canceled) || errdefs.IsUnavailable(err) {
			return nil, nil, fmt.Errorf("read network %s: %w", id, err)
		}
		n, d := parseRecord(id, b, err)
		if d != nil {
			damaged = append(damaged, *d)
			continue
		}
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b spec.Network) int { return a.Created.Compare(b.Created) })
	return all, damaged, nil
}

func (s *Store) path(id string) string { return s.dir + "/" + id + suffix }

func (s *Store) read(ctx context.Context, p string) ([]byte, error) {
	r, _, err := s.files.Get(ctx, p, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, maxRecord))
}

// What is left of a damaged file often still tells these.
var (
	nameIn   = regexp.MustCompile(`"Name":\s*"([a-zA-Z0-9_.-]+)"`)
	subnetIn = regexp.MustCompile(`"Subnet":\s*"([0-9./]+)"`)
	// Of IPv6 likewise.
	subnet6In = regexp.MustCompile(`"Subnet6":\s*"([0-9a-f:./]+)"`)
)

// parseRecord reads a network's file, or says what can be told of a damaged one.
func parseRecord(id string, b []byte, err error) (spec.Network, *Damaged) {
	var r record
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	switch {
	case err != nil:
	case r.Version > recordVersion:
		err = fmt.Errorf("version %d is newer than this program: %w", r.Version, errdefs.ErrFailedPrecondition)
	case r.Version < 1 || r.Network.ID != id:
		err = fmt.Errorf("it is not of network %s: %w", id, errdefs.ErrDataLoss)
	default:
		if _, err = newScope(r.Network); err == nil {
			return r.Network, nil
		}
	}
	d := &Damaged{ID: id, Err: err}
	if m := nameIn.FindSubmatch(b); m != nil {
		d.Name = string(m[1])
	}
	for re, to := range map[*regexp.Regexp]*netip.Prefix{subnetIn: &d.Subnet, subnet6In: &d.Subnet6} {
		if m := re.FindSubmatch(b); m != nil {
			if p, err := netip.ParsePrefix(string(m[1])); err == nil {
				*to = p.Masked()
			}
		}
	}
	return spec.Network{}, d
}
