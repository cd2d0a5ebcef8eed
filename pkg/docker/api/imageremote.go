package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// getDistribution tells what a registry has under a name.
func (s *server) getDistribution(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	d, err := s.e.DistributionInspect(ctx, vars["name"], credentials(r))
	if err != nil {
		return err
	}
	out := registry.DistributionInspect{Descriptor: ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size}}
	for _, p := range d.Platforms {
		out.Platforms = append(out.Platforms, ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures})
	}
	return httputils.WriteJSON(w, http.StatusOK, &out)
}

// getImagesSearch finds repositories at a registry.
func (s *server) getImagesSearch(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	limit := 0
	if v := r.Form.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return badRequest("invalid limit specified: %q", v)
		}
		limit = n
	}
	f, err := formFilters(r)
	if err != nil {
		return err
	}
	found, err := s.e.ImageSearch(ctx, r.Form.Get("term"), limit, f, credentials(r))
	if err != nil {
		return err
	}
	out := []registry.SearchResult{}
	for _, one := range found {
		out = append(out, registry.SearchResult{Name: one.Name, Description: one.Description, StarCount: one.Stars, IsOfficial: one.Official})
	}
	return httputils.WriteJSON(w, http.StatusOK, out)
}
