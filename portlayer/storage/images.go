package storage

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
)

// Config of an image store.
type Config struct {
	Datastore Datastore
	// ImageStore is "[datastore] path"; the store is in VIC/<VCH> below it.
	ImageStore string
	VCH        string // UUID
	// Spool is a folder for files being worked on. An image takes about three
	// times its uncompressed size there while it is made, and an archive that is
	// loaded its own size besides.
	Spool string
	// Client fetches images.
	Client *image.Client
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	Log *logrus.Entry
}

// Images is the image store of a VCH. Reads are served from memory.
type Images struct {
	cfg    Config
	ds     Datastore
	at     layout
	log    *logrus.Entry
	work   keyLock
	flight flights
	// namesLock is held while repositories.json is written.
	namesLock chan struct{}

	mu      sync.Mutex // guards all below, never held across a call
	records map[digest.Digest]*record
	names   names
	// blobs are those on the datastore, with their sizes.
	blobs map[digest.Digest]int64
	// pins counts the work under way that needs a blob.
	pins map[digest.Digest]int
	// blanks are the sizes in MiB whose blank disk is known to be there.
	blanks map[int64]bool
}

// New makes an empty store; Load reads what the datastore has.
func New(cfg Config) (*Images, error) {
	if cfg.Datastore == nil || cfg.Log == nil || cfg.Spool == "" || cfg.Client == nil {
		return nil, errors.New("image store: datastore, spool folder, client and log must be given")
	}
	at, err := newLayout(cfg.ImageStore, cfg.VCH)
	if err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Images{
		cfg: cfg, ds: cfg.Datastore, at: at, log: cfg.Log.WithField(spec.FieldPath, at.root),
		namesLock: make(chan struct{}, 1),
		records:   map[digest.Digest]*record{}, names: names{}, blobs: map[digest.Digest]int64{},
		pins: map[digest.Digest]int{}, blanks: map[int64]bool{},
	}, nil
}

// List gives all images, the newest first.
func (s *Images) List() []spec.Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]spec.Image, 0, len(s.records))
	for _, r := range s.records {
		out = append(out, s.view(r))
	}
	sort.Slice(out, func(i, j int) bool {
		if !out[i].Created.Equal(out[j].Created) {
			return out[i].Created.After(out[j].Created)
		}
		return out[i].ID < out[j].ID
	})
	return out
}

// view is called with mu held.
func (s *Images) view(r *record) spec.Image {
	img := r.view()
	img.RepoTags, img.RepoDigests = s.names.of(r.ID)
	return img
}

// Resolve finds an image by reference, id or unambiguous id prefix, in this
// order, as Docker does. What is not there is ErrNotFound, an id that several
// images begin with ErrInvalidArgument.
func (s *Images) Resolve(ref string) (spec.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(ref)
	if err != nil {
		return spec.Image{}, err
	}
	return s.view(r), nil
}

// find is called with mu held.
func (s *Images) find(ref string) (*record, error) {
	if r := s.records[digest.Digest(ref)]; r != nil {
		return r, nil
	}
	if named, err := image.ParseReference(ref); err == nil {
		if r := s.records[s.names[named.String()]]; r != nil {
			return r, nil
		}
	}
	prefix := strings.TrimPrefix(ref, "sha256:")
	if len(prefix) >= 1 && strings.Trim(prefix, "0123456789abcdef") == "" {
		var found *record
		for id, r := range s.records {
			if !strings.HasPrefix(id.Encoded(), prefix) {
				continue
			}
			if found != nil {
				return nil, fmt.Errorf("image id prefix %s is ambiguous: %w", ref, errdefs.ErrInvalidArgument)
			}
			found = r
		}
		if found != nil {
			return found, nil
		}
	}
	return nil, &noSuchImage{image.Familiar(ref)}
}

// noSuchImage is ErrNotFound in Docker's words.
type noSuchImage struct{ ref string }

func (e *noSuchImage) Error() string { return "No such image: " + e.ref }
func (e *noSuchImage) Unwrap() error { return errdefs.ErrNotFound }

// Tag adds a name to an image; an existing name is moved.
func (s *Images) Tag(ctx context.Context, ref, name string) error {
	named, err := image.ParseReference(name)
	if err != nil {
		return fmt.Errorf("tag image %s: %w", ref, err)
	}
	img, err := s.Resolve(ref)
	if err != nil {
		return err
	}
	id := digest.Digest(img.ID)
	unlock, err := s.work.lock(ctx, "image:"+img.ID)
	if err != nil {
		return err
	}
	defer unlock()
	s.mu.Lock()
	gone := s.records[id] == nil
	s.mu.Unlock()
	if gone {
		return &noSuchImage{image.Familiar(ref)}
	}
	return s.rename(ctx, func(n names) names { return n.with(id, named.String()) })
}

// Untag removes a name. A name that is not there is ErrNotFound.
func (s *Images) Untag(ctx context.Context, name string) error {
	named, err := image.ParseReference(name)
	if err != nil {
		return fmt.Errorf("untag image: %w", err)
	}
	s.mu.Lock()
	_, ok := s.names[named.String()]
	s.mu.Unlock()
	if !ok {
		return &noSuchImage{image.Familiar(name)}
	}
	return s.rename(ctx, func(n names) names {
		return n.without(func(k string, _ digest.Digest) bool { return k == named.String() })
	})
}

// rename changes the names on the datastore and then in memory.
func (s *Images) rename(ctx context.Context, change func(names) names) error {
	select {
	case s.namesLock <- struct{}{}:
		defer func() { <-s.namesLock }()
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	next := change(s.names)
	s.mu.Unlock()
	raw, err := next.encode()
	if err != nil {
		return fmt.Errorf("encode image names: %w", err)
	}
	if err := s.replace(ctx, s.at.names(), raw); err != nil {
		return fmt.Errorf("save image names: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = next
	return nil
}
