package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of what is read into memory.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	maxLayers   = 1000
	// maxBytes is what all layers of an image may have together, in bytes: 64 TiB,
	// more than a disk can have (https://configmax.broadcom.com: 62 TB).
	maxBytes = 64 << 40
)

// Blob is something small that was fetched and verified.
type Blob struct {
	Digest    digest.Digest
	MediaType string
	Data      []byte
}

// Layer is one layer of an image as its manifest has it.
type Layer struct {
	Digest    digest.Digest // of the compressed bytes
	DiffID    digest.Digest // of the uncompressed tar
	MediaType string
	Size      int64 // compressed
	// URLs are where a foreign layer is, for a registry that does not keep it.
	URLs []string
}

// Remote is an image found at a registry. Its manifest and configuration are
// here, its layers are still there.
type Remote struct {
	Ref reference.Named
	// Digest is what the reference points at: the index, if there is one.
	Digest digest.Digest
	// Index is the index that the manifest was chosen from; without Data if none.
	Index    Blob
	Manifest Blob
	Config   Blob
	Layers   []Layer // the lowest first

	c *Client
	e *endpoint
}

// ID is the image's id: the digest of its configuration.
func (r *Remote) ID() string { return r.Config.Digest.String() }

// Resolve finds ref, the manifest for the platform ("linux/amd64"; empty is
// that too), and the image's configuration. For names of Docker Hub the mirrors
// are asked first. That there is no such image is ErrNotFound, and that a
// registry cannot be reached ErrUnavailable.
func (c *Client) Resolve(ctx context.Context, ref reference.Named, platform string, auth Auth) (*Remote, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return nil, err
	}
	if reference.IsNameOnly(ref) {
		return nil, fmt.Errorf("%s: neither tag nor digest: %w", ref, errdefs.ErrInvalidArgument)
	}
	var out *Remote
	err = c.each(ctx, ref, auth, func(e *endpoint) error {
		var err error
		out, err = c.resolveAt(ctx, e, ref, want)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// each tries the places where ref may be, until one can do it. For names of
// Docker Hub the mirrors come first.
func (c *Client) each(ctx context.Context, ref reference.Named, auth Auth, do func(*endpoint) error) error {
	endpoints, err := c.endpoints(ctx, ref, auth)
	if err != nil {
		return err
	}
	var mirrored error // what the last mirror that answered said
	for _, e := range endpoints {
		err := c.connect(ctx, e)
		if err == nil {
			err = do(e)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err = translate(err, ref, e)
		if !e.mirror {
			return afterMirrors(err, mirrored)
		}
		c.cfg.Log.WithError(err).WithField("mirror", e.host).Info("mirror cannot give the image")
		if mirrored == nil || errdefs.IsNotFound(err) {
			mirrored = err
		}
	}
	return mirrored // the list always ends with the registry itself
}

// afterMirrors decides what to tell when Docker Hub has failed too. When a
// mirror said that there is no such image and Docker Hub cannot be reached
// (the usual case behind a firewall), the mirror's word counts.
func afterMirrors(hub, mirrored error) error {
	switch {
	case mirrored == nil || errdefs.IsNotFound(hub):
		return hub
	case errdefs.IsNotFound(mirrored) && errdefs.IsUnavailable(hub):
		return &classified{errdefs.ErrNotFound, fmt.Sprintf("%v (Docker Hub cannot be reached: %v)", mirrored, hub), nil}
	case errdefs.IsUnavailable(mirrored):
		return &classified{errdefs.ErrUnavailable, fmt.Sprintf("%v (mirror: %v)", hub, mirrored), hub}
	}
	return hub
}

func (c *Client) resolveAt(ctx context.Context, e *endpoint, ref reference.Named, want ocispec.Platform) (*Remote, error) {
	r := &Remote{Ref: ref, c: c, e: e}
	top, err := r.top(ctx)
	if err != nil {
		return nil, err
	}
	r.Digest, r.Manifest = top.Digest, top
	if isIndex(top.MediaType) {
		var index ocispec.Index
		if err := json.Unmarshal(top.Data, &index); err != nil {
			return nil, bad("manifest list of %s: %v", reference.FamiliarString(ref), err)
		}
		m, err := choose(index, want)
		if err != nil {
			return nil, err
		}
		r.Index = top
		if r.Manifest, err = r.manifest(ctx, m.Digest.String(), false); err != nil {
			return nil, err
		}
	}
	return r, r.readManifest(ctx, want)
}

// top fetches what the reference points at.
func (r *Remote) top(ctx context.Context) (Blob, error) {
	if d, ok := r.Ref.(reference.Digested); ok {
		if a := d.Digest().Algorithm(); a != digest.SHA256 {
			return Blob{}, &classified{errdefs.ErrNotImplemented, fmt.Sprintf("%s: digests of %s are not supported, only those of %s", reference.FamiliarString(r.Ref), a, digest.SHA256), nil}
		}
		return r.manifest(ctx, d.Digest().String(), false)
	}
	if t, ok := r.Ref.(reference.Tagged); ok {
		return r.manifest(ctx, t.Tag(), true)
	}
	return Blob{}, bad("%s: neither tag nor digest", r.Ref)
}

// readManifest fetches the configuration and checks that all fits together.
func (r *Remote) readManifest(ctx context.Context, want ocispec.Platform) error {
	name := reference.FamiliarString(r.Ref)
	if err := schema1(name, r.Manifest.MediaType); err != nil {
		return err
	}
	if !isManifest(r.Manifest.MediaType) {
		return &classified{errdefs.ErrNotImplemented, fmt.Sprintf("manifest of %s has media type %q, which is not supported", name, r.Manifest.MediaType), nil}
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(r.Manifest.Data, &m); err != nil {
		return bad("manifest of %s: %v", name, err)
	}
	if !IsConfig(m.Config.MediaType) {
		return &classified{errdefs.ErrInvalidArgument, fmt.Sprintf("%s is not an image: its configuration has media type %q", name, m.Config.MediaType), nil}
	}
	if len(m.Layers) > maxLayers {
		return bad("manifest of %s: %d layers, at most %d are possible", name, len(m.Layers), maxLayers)
	}
	if err := r.config(ctx, m.Config); err != nil {
		return err
	}
	conf, err := ParseConfig(r.Config.Data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if have := conf.Platform; have.OS != "" && !matches(have, want) {
		return &classified{errdefs.ErrNotFound, fmt.Sprintf("image with reference %s was found but its platform (%s) does not match the specified platform (%s)", name, platformString(have), platformString(want)), nil}
	}
	if len(conf.RootFS.DiffIDs) != len(m.Layers) {
		return bad("%s: %d layers in the manifest, %d in the configuration", name, len(m.Layers), len(conf.RootFS.DiffIDs))
	}
	var total int64
	for i, l := range m.Layers {
		if err := l.Digest.Validate(); err != nil || l.Digest.Algorithm() != digest.SHA256 || l.Size < 0 {
			return bad("manifest of %s: layer %d has digest %q and size %d", name, i, l.Digest, l.Size)
		}
		// One by one, as the sum of several may be anything.
		if l.Size > maxBytes-total {
			return bad("manifest of %s: its layers have more than %d bytes", name, int64(maxBytes))
		}
		total += l.Size
		r.Layers = append(r.Layers, Layer{Digest: l.Digest, DiffID: conf.RootFS.DiffIDs[i], MediaType: l.MediaType, Size: l.Size, URLs: foreignURLs(l)})
	}
	return nil
}

func bad(format string, args ...any) error {
	return &classified{errdefs.ErrInvalidArgument, fmt.Sprintf(format, args...), nil}
}

func (r *Remote) config(ctx context.Context, d ocispec.Descriptor) error {
	if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 {
		return bad("configuration of %s has digest %q", reference.FamiliarString(r.Ref), d.Digest)
	}
	var data []byte
	get := func() error {
		resp, err := r.get(ctx, "blobs/"+d.Digest.String(), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close() // only read
		data, err = readAll(resp.Body, maxConfig)
		return err
	}
	if err := r.c.retry(ctx, func() (bool, error) { return false, get() }); err != nil {
		return fmt.Errorf("configuration of %s: %w", reference.FamiliarString(r.Ref), translate(err, r.Ref, r.e))
	}
	if got := digest.FromBytes(data); got != d.Digest {
		return mismatch("configuration of "+reference.FamiliarString(r.Ref), d.Digest, got)
	}
	r.Config = Blob{Digest: d.Digest, MediaType: d.MediaType, Data: data}
	return nil
}

// mismatch is the error for bytes that are not what their digest says.
func mismatch(what string, want, got digest.Digest) error {
	return &classified{errdefs.ErrDataLoss, fmt.Sprintf("%s: verification failed: want digest %s, the registry sent %s", what, want, got), nil}
}

// manifest fetches a manifest or index by tag or digest.
func (r *Remote) manifest(ctx context.Context, id string, tag bool) (Blob, error) {
	var b Blob
	err := r.c.retry(ctx, func() (bool, error) {
		resp, err := r.get(ctx, "manifests/"+id, http.Header{"Accept": {
			ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest,
			string(types.DockerManifestList), string(types.DockerManifestSchema2),
		}})
		if err != nil {
			return false, err
		}
		defer resp.Body.Close() // only read
		b.Data, err = readAll(resp.Body, maxManifest)
		if err == nil {
			b.MediaType = mediaType(resp.Header.Get("Content-Type"), b.Data)
		}
		return false, err
	})
	if err != nil {
		return Blob{}, err
	}
	b.Digest = digest.FromBytes(b.Data)
	if !tag && b.Digest.String() != id {
		return Blob{}, mismatch("manifest of "+reference.FamiliarString(r.Ref), digest.Digest(id), b.Digest)
	}
	return b, nil
}

// get sends one request below the image's repository. An answer that is not a
// success is a *transport.Error.
func (r *Remote) get(ctx context.Context, path string, h http.Header) (*http.Response, error) {
	path, query, _ := strings.Cut(path, "?")
	at := r.e.url(r.e.repo + "/" + path)
	at.RawQuery = query
	return r.fetch(ctx, at.String(), h)
}

// fetch is get for a whole address.
func (r *Remote) fetch(ctx context.Context, at string, h http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", at, err)
	}
	if h != nil {
		req.Header = h.Clone()
	}
	resp, err := r.e.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := checked(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return nil, err
	}
	return resp, nil
}

func readAll(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, bad("more than %d bytes", limit)
	}
	return b, err
}

// mediaType is what the registry says the bytes are, or else what they say.
func mediaType(header string, data []byte) string {
	if t, _, err := mime.ParseMediaType(header); err == nil && (isManifest(t) || isIndex(t) || t == string(types.DockerManifestSchema1) || t == string(types.DockerManifestSchema1Signed)) {
		return t
	}
	var m struct {
		MediaType string          `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
		Config    json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return header
	}
	switch {
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return ocispec.MediaTypeImageIndex
	case m.Config != nil:
		return ocispec.MediaTypeImageManifest
	}
	return header
}

func isManifest(t string) bool {
	return t == ocispec.MediaTypeImageManifest || t == string(types.DockerManifestSchema2)
}

func isIndex(t string) bool {
	return t == ocispec.MediaTypeImageIndex || t == string(types.DockerManifestList)
}

// errShort occurs when a connection ended before all of a blob had come.
var errShort = errors.New("connection ended early")
