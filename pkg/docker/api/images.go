package api

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/storage"
	"github.com/docker/docker/api/types/versions"
)

func (s *server) imageRoutes() []route {
	return []route{
		{http.MethodGet, "/images/json", s.getImages},
		{http.MethodGet, "/images/search", s.getImagesSearch},
		{http.MethodGet, "/images/get", s.getImagesGet},
		{http.MethodGet, "/images/{name:.*}/get", s.getImagesGet},
		{http.MethodGet, "/images/{name:.*}/history", s.getImageHistory},
		{http.MethodGet, "/images/{name:.*}/json", s.getImage},
		{http.MethodPost, "/images/load", s.postImagesLoad},
		{http.MethodGet, "/distribution/{name:.*}/json", s.getDistribution},
		{http.MethodPost, "/images/create", s.postImagesCreate},
		{http.MethodPost, "/images/{name:.*}/push", s.postImagesPush},
		{http.MethodPost, "/images/{name:.*}/tag", s.postImageTag},
		{http.MethodPost, "/images/prune", s.postImagesPrune},
		{http.MethodDelete, "/images/{name:.*}", s.deleteImage},
	}
}

func (s *server) getImages(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	f, err := formFilters(r)
	if err != nil {
		return err
	}
	version := httputils.VersionFromContext(ctx)
	if name := r.Form.Get("filter"); name != "" && versions.LessThan(version, "1.41") {
		f["reference"] = append(f["reference"], name)
	}
	list, err := s.e.ImageList(f)
	if err != nil {
		return err
	}
	var shared map[string]int64
	if versions.GreaterThanOrEqualTo(version, "1.42") && httputils.BoolValue(r, "shared-size") {
		shared = s.e.SharedSizes()
	}
	out := make([]*image.Summary, 0, len(list))
	for _, i := range list {
		sum := imageSummary(i)
		if shared != nil {
			sum.SharedSize = shared[i.ID]
		}
		if versions.LessThan(version, "1.51") {
			sum.Containers = -1
		}
		if versions.LessThan(version, "1.44") {
			sum.VirtualSize = sum.Size //nolint:staticcheck // old clients read it
		}
		if versions.LessThan(version, "1.43") && len(sum.RepoTags)+len(sum.RepoDigests) == 0 {
			sum.RepoTags, sum.RepoDigests = []string{"<none>:<none>"}, []string{"<none>@<none>"}
		}
		out = append(out, sum)
	}
	return httputils.WriteJSON(w, http.StatusOK, out)
}

func imageSummary(i engine.ImageInfo) *image.Summary {
	return &image.Summary{
		ID: i.ID, RepoTags: append([]string{}, i.RepoTags...), RepoDigests: append([]string{}, i.RepoDigests...), Created: i.Created.Unix(),
		Size: i.Size, SharedSize: -1, Labels: i.Spec.Config.Labels, Containers: int64(i.Containers),
	}
}

// getImage answers with every field of the image, as API 1.50 and later do with
// what the image has.
func (s *server) getImage(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	platform, err := formPlatform(ctx, r, "1.49")
	if err != nil {
		return err
	}
	version := httputils.VersionFromContext(ctx)
	if platform != "" && versions.GreaterThanOrEqualTo(version, "1.48") && httputils.BoolValue(r, "manifests") {
		return badRequest("conflicting options: manifests and platform options cannot both be set")
	}
	i, err := s.e.ImageInspectFor(vars["name"], platform)
	if err != nil {
		return err
	}
	cfg := i.Spec.Config
	out := &image.InspectResponse{
		ID: i.ID, RepoTags: append([]string{}, i.RepoTags...), RepoDigests: append([]string{}, i.RepoDigests...), Author: i.Spec.Author,
		Config: &cfg, Architecture: i.Spec.Architecture, Variant: i.Spec.Variant, Os: i.Spec.OS, OsVersion: i.Spec.OSVersion, Size: i.Size,
		GraphDriver: storage.DriverData{Name: storageDriver, Data: map[string]string{}},
		RootFS:      image.RootFS{Type: "layers", Layers: i.Layers},
	}
	out.Metadata.LastTagTime = i.Pulled
	if !i.Created.IsZero() {
		out.Created = i.Created.UTC().Format(time.RFC3339Nano)
	}
	out.Comment, out.DockerVersion = engine.DockerFields(i.Image) //nolint:staticcheck // shown when the image has it
	if n := len(i.Spec.History); n > 0 && out.Comment == "" {
		out.Comment = i.Spec.History[n-1].Comment
	}
	if versions.LessThan(version, "1.44") {
		out.VirtualSize = out.Size //nolint:staticcheck // old clients read it
		if out.Created == "" {
			out.Created = time.Time{}.Format(time.RFC3339Nano)
		}
	}
	return httputils.WriteJSON(w, http.StatusOK, compatInspect(version, out))
}

func (s *server) getImageHistory(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	platform, err := formPlatform(ctx, r, "1.48")
	if err != nil {
		return err
	}
	list, err := s.e.ImageHistory(vars["name"], platform)
	if err != nil {
		return err
	}
	out := make([]*image.HistoryResponseItem, 0, len(list))
	for _, h := range list {
		out = append(out, &image.HistoryResponseItem{ID: h.ID, Created: unixOrZero(h.Created), CreatedBy: h.CreatedBy, Comment: h.Comment, Tags: h.Tags, Size: h.Size})
	}
	return httputils.WriteJSON(w, http.StatusOK, out)
}

func (s *server) postImageTag(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	repo := r.Form.Get("repo")
	if repo == "" {
		return badRequest("repository name must be given (repo)")
	}
	if err := s.e.ImageTag(ctx, vars["name"], repo, r.Form.Get("tag")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *server) deleteImage(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	if versions.GreaterThanOrEqualTo(httputils.VersionFromContext(ctx), "1.50") && strings.TrimSpace(vars["name"]) != "" {
		ps, err := httputils.DecodePlatforms(r.Form["platforms"])
		if err != nil {
			return err
		}
		if len(ps) > 1 {
			return badRequest("multiple platforms are not supported")
		}
		for _, p := range ps { // one at most
			if _, err := s.e.ImageInspectFor(vars["name"], platformOf(p)); err != nil {
				return err
			}
		}
	}
	list, err := s.e.ImageRemove(ctx, vars["name"], httputils.BoolValue(r, "force"))
	if err != nil {
		return err
	}
	return httputils.WriteJSON(w, http.StatusOK, deletions(list))
}

func (s *server) postImagesPrune(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	f, err := formFilters(r)
	if err != nil {
		return err
	}
	list, bytes, err := s.e.ImagePrune(ctx, f)
	if err != nil {
		return err
	}
	return httputils.WriteJSON(w, http.StatusOK, &image.PruneReport{ImagesDeleted: deletions(list), SpaceReclaimed: uint64(bytes)})
}

func deletions(list []engine.ImageDeletion) []image.DeleteResponse {
	out := make([]image.DeleteResponse, 0, len(list))
	for _, d := range list {
		out = append(out, image.DeleteResponse{Untagged: d.Untagged, Deleted: d.Deleted})
	}
	return out
}
