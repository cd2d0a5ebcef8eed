package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/pkg/ioutils"
	"github.com/docker/docker/pkg/progress"
	"github.com/docker/docker/pkg/streamformatter"
)

// postImport makes an image of a file system's tar, which is the request's body
// or at an address that the VCH fetches.
func (s *server) postImport(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	src := engine.ImportSource(r.Form.Get("fromSrc"))
	o := engine.ImportOptions{
		Repo: r.Form.Get("repo"), Tag: r.Form.Get("tag"), Message: r.Form.Get("message"), Changes: r.Form["changes"], Platform: r.Form.Get("platform"),
	}
	if o.Message == "" {
		o.Message = "Imported from " + r.Form.Get("fromSrc")
	}
	rest, err := readAll(w, r)
	if err != nil {
		return err
	}
	defer rest()
	w.Header().Set("Content-Type", "application/json")
	out := ioutils.NewWriteFlusher(w)
	defer out.Close()
	body := io.Reader(r.Body)
	if src != "-" {
		remote, size, err := s.fetchImport(ctx, src)
		if err != nil {
			return err
		}
		defer remote.Close()
		_, _ = out.Write(streamformatter.FormatStatus("", "Downloading from %s", src))
		body = progress.NewProgressReader(remote, streamformatter.NewJSONProgressOutput(out, true), size, "", "Importing")
	}
	id, err := s.e.ImageImport(ctx, body, o)
	if err != nil {
		if !out.Flushed() {
			return err
		}
		_, _ = out.Write(streamformatter.FormatError(err))
		return nil
	}
	_, _ = out.Write(streamformatter.FormatStatus("", "%v", id))
	s.Log.WithFields(map[string]any{spec.FieldImage: id, "source": r.Form.Get("fromSrc")}).Info("image imported")
	return nil
}

// fetchImport opens an address. What answers with an error is ErrNotFound or
// ErrUnavailable, in Docker's words.
func (s *server) fetchImport(ctx context.Context, src string) (io.ReadCloser, int64, error) {
	u, err := url.Parse(src)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, 0, badRequest("import from %q: want -, or an http:// or https:// address", src)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, src, nil)
	if err != nil {
		return nil, 0, badRequest("import from %q: %v", src, err)
	}
	resp, err := (&http.Client{Transport: s.RegistryTransport}).Do(req)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return nil, 0, err
		}
		return nil, 0, fmt.Errorf("unable to connect to %s: %w%w", u.Host, err, hidden{errdefs.ErrUnavailable})
	}
	if resp.StatusCode/100 == 2 {
		return resp.Body, resp.ContentLength, nil
	}
	resp.Body.Close()
	var class error = errdefs.ErrUnavailable
	if resp.StatusCode == http.StatusNotFound {
		class = errdefs.ErrNotFound
	}
	return nil, 0, fmt.Errorf("failed to GET %s with status %s%w", src, resp.Status, hidden{class})
}
