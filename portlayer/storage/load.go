package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/spec"
)

// spoolPrefix begins the names of this package's folders in the spool.
const spoolPrefix = "image-"

const maxRecord = 32 << 20

// Load reads what the datastore has, and removes what an engine that died has
// left half-done. It is called once, before anything else. An image that cannot
// be read is logged and left alone: it must not keep the rest from being used.
func (s *Images) Load(ctx context.Context) error {
	if err := cleanSpool(s.cfg.Spool, spoolPrefix); err != nil {
		return fmt.Errorf("clean spool folder: %w", err)
	}
	for _, dir := range []string{s.at.blobs(), s.at.images(), s.at.blanks(), s.at.tmp()} {
		if err := s.ds.Mkdir(ctx, dir); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	if err := s.clear(ctx, s.at.tmp()); err != nil {
		return fmt.Errorf("clear %s: %w", s.at.tmp(), err)
	}
	sure, err := s.loadImages(ctx)
	if err != nil {
		return fmt.Errorf("load images: %w", err)
	}
	if err := s.loadNames(ctx); err != nil {
		return fmt.Errorf("load image names: %w", err)
	}
	if err := s.loadBlobs(ctx, sure); err != nil {
		return fmt.Errorf("load blobs: %w", err)
	}
	s.log.WithField("images", len(s.List())).Info("image store loaded")
	return nil
}

// cleanSpool removes the folders in base whose names begin with prefix.
func cleanSpool(base, prefix string) error {
	if err := os.MkdirAll(base, 0o700); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(base, prefix+"*"))
	errs := []error{err}
	for _, dir := range old {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// clear removes what is in a folder.
func (s *Images) clear(ctx context.Context, dir string) error {
	entries, err := s.ds.List(ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.ds.Delete(ctx, dir+"/"+e.Name); err != nil {
			return err
		}
	}
	return nil
}

// loadImages reads every image.json. sure is false when one could not be read:
// then it is not known which blobs it needs.
func (s *Images) loadImages(ctx context.Context) (sure bool, err error) {
	entries, err := s.ds.List(ctx, s.at.images())
	if err != nil {
		return false, err
	}
	var mu sync.Mutex // guards sure
	sure = true
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, e := range entries {
		if !e.Dir || digest.NewDigestFromEncoded(digest.SHA256, e.Name).Validate() != nil {
			continue
		}
		g.Go(func() error {
			raw, err := s.getSmall(ctx, s.at.meta(e.Name), maxRecord)
			if errdefs.IsNotFound(err) {
				s.log.WithField(spec.FieldImage, e.Name).Info("image that was not finished is removed")
				return s.removeFolder(ctx, e.Name)
			}
			var r *record
			if err == nil {
				r, err = parseRecord(raw, e.Name)
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				s.log.WithError(err).WithField(spec.FieldImage, e.Name).Warn("image cannot be read and is left alone")
				mu.Lock()
				defer mu.Unlock()
				sure = false
				return nil
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.records[r.ID] = r
			return nil
		})
	}
	return sure, g.Wait()
}

// removeFolder removes an image's folder with its disk.
func (s *Images) removeFolder(ctx context.Context, hex string) error {
	if err := s.ds.DeleteDisk(ctx, s.at.disk(hex)); err != nil {
		return fmt.Errorf("remove disk of image %s: %w", hex, err)
	}
	if err := s.ds.Delete(ctx, s.at.image(hex)); err != nil {
		return fmt.Errorf("remove image %s: %w", hex, err)
	}
	return nil
}

func (s *Images) loadNames(ctx context.Context) error {
	raw, err := s.getSmall(ctx, s.at.names(), maxRecord)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := parseNames(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", s.at.names(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// A name of an image that cannot be read comes back with the image.
	s.names = n
	return nil
}

// loadBlobs lists the blobs; when it is sure which are needed it removes the
// others.
func (s *Images) loadBlobs(ctx context.Context, sure bool) error {
	entries, err := s.ds.List(ctx, s.at.blobs())
	if err != nil {
		return err
	}
	var all []digest.Digest
	s.mu.Lock()
	for _, e := range entries {
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name)
		if e.Dir || d.Validate() != nil {
			continue
		}
		s.blobs[d] = e.Size
		all = append(all, d)
	}
	s.mu.Unlock()
	if !sure {
		return nil
	}
	return s.sweep(ctx, all)
}
