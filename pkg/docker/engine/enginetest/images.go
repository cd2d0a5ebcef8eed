package enginetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

var _ engine.Images = (*Images)(nil)

// Images is an image store in memory, with a registry to pull from.
type Images struct {
	// PullErr, when set, is what pulls fail with.
	PullErr error
	// PutErr, when set, is what Put fails with.
	PutErr error
	// Block, when set, makes a pull wait for it or for its context's end, after
	// the first progress.
	Block <-chan struct{}

	mu       sync.Mutex // guards all below
	images   []spec.Image
	pulling  int
	registry map[string]spec.Image // by familiar name
}

// BusyboxConfig is the configuration of the busybox image.
const BusyboxConfig = `{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05Z","author":"vic",` +
	`"config":{"Env":["PATH=/bin"],"Cmd":["sh"],"Labels":{"kind":"test"}},` +
	`"rootfs":{"type":"layers","diff_ids":["sha256:1111111111111111111111111111111111111111111111111111111111111111"]},` +
	`"history":[{"created":"2026-01-02T03:04:05Z","created_by":"ADD rootfs"},{"created":"2026-01-02T03:04:05Z","created_by":"CMD [\"sh\"]","empty_layer":true}]}`

// NewImages makes a store that has busybox:latest, and a registry that also
// has web:1.
func NewImages() *Images {
	s := &Images{registry: map[string]spec.Image{}}
	bb := Image("busybox:latest", BusyboxConfig)
	s.images = []spec.Image{bb}
	s.registry["busybox:latest"] = bb
	s.registry["web:1"] = Image("web:1", strings.Replace(BusyboxConfig, `"Cmd":["sh"]`,
		`"Entrypoint":["deaf"],"ExposedPorts":{"80/tcp":{}},"User":"www","WorkingDir":"/srv","StopSignal":"SIGQUIT","Volumes":{"/data":{}}`, 1))
	return s
}

// Image makes an image of a name and a configuration.
func Image(name, config string) spec.Image {
	repo, _, _ := strings.Cut(name, ":")
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return spec.Image{
		ID: digest(config), RepoTags: []string{name}, RepoDigests: []string{repo + "@" + digest("manifest of "+config)}, Created: created, Size: 4 << 20,
		Layers: []string{"sha256:" + strings.Repeat("1", 64)}, LayerSizes: []int64{4 << 20}, Config: []byte(config), Pulled: created,
	}
}

func digest(s string) string {
	h := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(h[:])
}

// Pull implements engine.Images.
func (s *Images) Pull(ctx context.Context, ref string, o spec.PullOptions) (spec.Image, bool, error) {
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return spec.Image{}, false, fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	if s.PullErr != nil {
		return spec.Image{}, false, s.PullErr
	}
	name := reference.FamiliarString(n)
	s.mu.Lock()
	img, ok := s.registry[name]
	s.pulling++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.pulling--
		s.mu.Unlock()
	}()
	if !ok {
		return spec.Image{}, false, fmt.Errorf("manifest for %s not found: manifest unknown: %w", name, errdefs.ErrNotFound)
	}
	report := func(status string, at, of int64) {
		if o.Progress != nil {
			o.Progress(spec.Progress{ID: "111111111111", Status: status, Current: at, Total: of})
		}
	}
	report("Pulling fs layer", 0, 0)
	if s.Block != nil {
		select {
		case <-s.Block:
		case <-ctx.Done():
			return spec.Image{}, false, ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, have := range s.images {
		if have.ID == img.ID {
			fresh := !slices.Contains(have.RepoTags, name)
			if fresh {
				s.images[i].RepoTags = append(s.images[i].RepoTags, name)
			}
			return pulled(s.images[i]), fresh, nil
		}
	}
	report("Downloading", 2<<20, 4<<20)
	report("Download complete", 0, 0)
	report("Pull complete", 0, 0)
	s.images = append(s.images, img)
	return pulled(img), true, nil
}

func pulled(img spec.Image) spec.Image {
	img = clone(img)
	if len(img.RepoDigests) > 0 {
		_, img.Digest, _ = strings.Cut(img.RepoDigests[0], "@")
	}
	return img
}

// Pulling tells whether a pull is under way.
func (s *Images) Pulling() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pulling > 0
}

// Resolve implements engine.Images.
func (s *Images) Resolve(ref string) (spec.Image, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(ref)
	if err != nil {
		return spec.Image{}, err
	}
	return clone(s.images[i]), nil
}

func clone(i spec.Image) spec.Image {
	i.RepoTags, i.RepoDigests = slices.Clone(i.RepoTags), slices.Clone(i.RepoDigests)
	return i
}

// find is called with mu held.
func (s *Images) find(ref string) (int, error) {
	if n, err := reference.ParseNormalizedNamed(ref); err == nil {
		name := reference.FamiliarString(reference.TagNameOnly(n))
		for i, img := range s.images {
			if slices.Contains(img.RepoTags, name) || slices.Contains(img.RepoDigests, name) {
				return i, nil
			}
		}
	}
	found := -1
	for i, img := range s.images {
		if strings.HasPrefix(img.ID, ref) || strings.HasPrefix(img.ID, "sha256:"+ref) {
			if found >= 0 {
				return 0, fmt.Errorf("id %s is ambiguous: %w", ref, errdefs.ErrInvalidArgument)
			}
			found = i
		}
	}
	if found < 0 || ref == "" {
		return 0, fmt.Errorf("image %s: %w", ref, errdefs.ErrNotFound)
	}
	return found, nil
}

// List implements engine.Images.
func (s *Images) List() []spec.Image {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]spec.Image, 0, len(s.images))
	for _, i := range s.images {
		out = append(out, clone(i))
	}
	return out
}

// Tag implements engine.Images.
func (s *Images) Tag(ctx context.Context, ref, name string) error {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	if _, err := s.Resolve(name); err == nil {
		if err := s.Untag(ctx, name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(ref)
	if err != nil {
		return err
	}
	s.images[i].RepoTags = append(s.images[i].RepoTags, reference.FamiliarString(n))
	return nil
}

// Untag implements engine.Images.
func (s *Images) Untag(_ context.Context, name string) error {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(name)
	if err != nil {
		return err
	}
	drop := func(list []string) []string {
		return slices.DeleteFunc(list, func(t string) bool { return t == reference.FamiliarString(n) })
	}
	s.images[i].RepoTags, s.images[i].RepoDigests = drop(s.images[i].RepoTags), drop(s.images[i].RepoDigests)
	return nil
}

// Delete implements engine.Images.
func (s *Images) Delete(_ context.Context, id string, names ...string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(id)
	if err != nil {
		return nil, err
	}
	for _, have := range slices.Concat(s.images[i].RepoTags, s.images[i].RepoDigests) {
		n, err := reference.ParseNormalizedNamed(have)
		if err != nil || !slices.Contains(names, n.String()) {
			return nil, fmt.Errorf("image %s is called %s: %w", id, have, errdefs.ErrConflict)
		}
	}
	freed := slices.Clone(s.images[i].Layers)
	s.images = slices.Delete(s.images, i, i+1)
	return freed, nil
}

// Disk implements engine.Images.
func (s *Images) Disk(_ context.Context, id string) (string, error) {
	if _, err := s.Resolve(id); err != nil {
		return "", err
	}
	return "[mydatastore] VIC/vch/images/" + strings.TrimPrefix(id, "sha256:") + ".vmdk", nil
}
