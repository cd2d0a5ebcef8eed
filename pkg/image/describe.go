package image

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/spec"
)

// Describe tells what a registry has under ref: the manifest or index that it
// points at, and the platforms. Names of Docker Hub are asked of the mirrors
// first. Errors are those of Resolve.
func (c *Client) Describe(ctx context.Context, ref reference.Named, auth Auth) (spec.RemoteImage, error) {
	var out spec.RemoteImage
	err := c.each(ctx, ref, auth, func(e *endpoint) error {
		r := &Remote{Ref: ref, c: c, e: e}
		top, err := r.top(ctx)
		if err != nil {
			return err
		}
		out = spec.RemoteImage{Digest: top.Digest.String(), MediaType: top.MediaType, Size: int64(len(top.Data))}
		out.Platforms, err = r.platforms(ctx, top)
		return err
	})
	return out, err
}

// platforms are those of an index's entries, or of an image's configuration.
func (r *Remote) platforms(ctx context.Context, top Blob) ([]spec.RemotePlatform, error) {
	name := reference.FamiliarString(r.Ref)
	var out []spec.RemotePlatform
	add := func(p ocispec.Platform) {
		out = append(out, spec.RemotePlatform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures})
	}
	if isIndex(top.MediaType) {
		var index ocispec.Index
		if err := json.Unmarshal(top.Data, &index); err != nil {
			return nil, bad("manifest list of %s: %v", name, err)
		}
		for _, m := range index.Manifests {
			if m.Platform != nil {
				add(*m.Platform)
			}
		}
		return out, nil
	}
	if err := schema1(name, top.MediaType); err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(top.Data, &m); err != nil {
		return nil, bad("manifest of %s: %v", name, err)
	}
	if !isManifest(top.MediaType) || !IsConfig(m.Config.MediaType) {
		return nil, nil // no image, which has no platform
	}
	if err := r.config(ctx, m.Config); err != nil {
		return nil, err
	}
	var p ocispec.Platform
	if json.Unmarshal(r.Config.Data, &p) == nil && (p.OS != "" || p.Architecture != "") {
		add(p)
	}
	return out, nil
}

// schema1 refuses manifests of Docker's first schema, in Docker's words.
func schema1(name, mediaType string) error {
	if mediaType != string(types.DockerManifestSchema1) && mediaType != string(types.DockerManifestSchema1Signed) {
		return nil
	}
	return &classified{errdefs.ErrInvalidArgument, "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. " +
		"Suggest the author of " + name + " to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. " +
		"More information at https://docs.docker.com/go/deprecated-image-specs/", nil}
}

// maxTags is how many tags of a repository are taken.
const maxTags = 10_000

// Tags are all tags of a repository.
func (c *Client) Tags(ctx context.Context, repo reference.Named, auth Auth) ([]string, error) {
	var tags []string
	err := c.each(ctx, repo, auth, func(e *endpoint) error {
		tags = nil
		r := &Remote{Ref: repo, c: c, e: e}
		for path := "tags/list?n=1000"; path != ""; {
			page, next, err := r.tags(ctx, path)
			if err != nil {
				return err
			}
			if tags = append(tags, page...); len(tags) > maxTags {
				return bad("%s has more than %d tags", reference.FamiliarName(repo), maxTags)
			}
			if len(page) == 0 {
				break
			}
			path = next
		}
		return nil
	})
	return tags, err
}

// tags gives one page, and the address of the next, below the repository.
func (r *Remote) tags(ctx context.Context, path string) (page []string, next string, err error) {
	err = r.c.retry(ctx, func() (bool, error) {
		resp, err := r.get(ctx, path, nil)
		if err != nil {
			return false, err
		}
		defer resp.Body.Close() // only read
		raw, err := readAll(resp.Body, maxManifest)
		if err != nil {
			return false, err
		}
		var list struct {
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(raw, &list); err != nil {
			return false, bad("tags of %s: %v", reference.FamiliarName(r.Ref), err)
		}
		page, next = list.Tags, nextPage(resp.Header)
		return false, nil
	})
	return page, next, err
}

// nextPage reads a Link header, of which only the query is taken: a registry
// cannot lead elsewhere.
func nextPage(h http.Header) string {
	for _, link := range h.Values("Link") {
		at, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
		if !ok || !strings.Contains(rest, `rel="next"`) {
			continue
		}
		if u, err := url.Parse(at); err == nil && u.RawQuery != "" {
			return "tags/list?" + u.RawQuery
		}
	}
	return ""
}
