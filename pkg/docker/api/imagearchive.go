package api

import (
	"context"
	"fmt"
	"net/http"
	"sort"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/pkg/ioutils"
	"github.com/docker/docker/pkg/progress"
	"github.com/docker/docker/pkg/streamformatter"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// formPlatform reads the platform parameter of API since and later: JSON as
// {"os":…,"architecture":…,"variant":…}. It gives "os/architecture/variant".
func formPlatform(ctx context.Context, r *http.Request, since string) (string, error) {
	if versions.LessThan(httputils.VersionFromContext(ctx), since) {
		return "", nil
	}
	values := r.Form["platform"]
	if len(values) > 1 {
		return "", badRequest("multiple platform parameters not supported")
	}
	if len(values) == 0 || values[0] == "" {
		return "", nil
	}
	p, err := httputils.DecodePlatform(values[0])
	if err != nil {
		return "", err
	}
	return platformOf(*p), nil
}

func platformOf(p ocispec.Platform) string {
	out := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		out += "/" + p.Variant
	}
	return out
}

// getImagesGet is save. An error before the first byte is an ordinary one; after
// it the connection is broken, so that no half archive seems whole.
func (s *server) getImagesGet(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	platform, err := formPlatform(ctx, r, "1.48")
	if err != nil {
		return err
	}
	names := r.Form["names"]
	if name, ok := vars["name"]; ok {
		names = []string{name}
	}
	out := &begun{w: w, contentType: "application/x-tar"}
	err = s.e.ImageSave(ctx, names, spec.SaveOptions{Platform: platform}, out)
	if err != nil && out.any {
		s.Log.WithError(err).WithField("remote", r.RemoteAddr).Warn("save: the archive is cut off")
		panic(http.ErrAbortHandler) // net/http's way to break a connection
	}
	return err
}

// begun tells whether anything was written.
type begun struct {
	w           http.ResponseWriter
	contentType string
	any         bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.any {
		b.any = true
		b.w.Header().Set("Content-Type", b.contentType)
	}
	return b.w.Write(p)
}

// postImagesLoad is load. As in Docker the answer is a stream from the start, and
// an error is in it.
func (s *server) postImagesLoad(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	platform, err := formPlatform(ctx, r, "1.48")
	if err != nil {
		return err
	}
	rest, err := readAll(w, r)
	if err != nil {
		return err
	}
	defer rest()
	w.Header().Set("Content-Type", "application/json")
	out := ioutils.NewWriteFlusher(w)
	defer out.Close()
	say := streamformatter.NewStdoutWriter(out)
	o := spec.LoadOptions{Platform: platform}
	if !httputils.BoolValueOrDefault(r, "quiet", true) {
		p := streamformatter.NewJSONProgressOutput(out, false)
		o.Progress = func(u spec.Progress) {
			_ = p.WriteProgress(progress.Progress{ID: u.ID, Action: u.Status, Current: u.Current, Total: u.Total, LastUpdate: u.Current == u.Total})
		}
	}
	var ids []string
	named := false
	o.Loaded = func(l spec.LoadedImage) {
		for _, n := range sortedKeys(l.Lost) {
			fmt.Fprintf(say, "The image %s already exists, renaming the old one with ID %s to empty string\n", n, l.Lost[n])
		}
		for _, n := range l.Names {
			named = true
			fmt.Fprintf(say, "Loaded image: %s\n", n)
		}
		ids = append(ids, "Loaded image ID: "+l.Image.ID+"\n")
		s.Log.WithFields(map[string]any{spec.FieldImage: l.Image.ID, "names": strings.Join(l.Names, ",")}).Info("image loaded")
	}
	err = s.e.ImageLoad(ctx, r.Body, o)
	if !named && len(ids) > 0 {
		_, _ = say.Write([]byte(strings.Join(ids, "")))
	}
	if err != nil {
		_, _ = out.Write(streamformatter.FormatError(err))
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
