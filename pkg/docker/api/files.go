package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/backend"
	"github.com/docker/docker/api/types/container"
	"github.com/moby/go-archive"
)

// fileRoutes are ours because docker's router gives its backend no context: a
// client that hangs up must end the work in the guest, and its boot.
func (s *server) fileRoutes() []route {
	return []route{
		{http.MethodHead, "/containers/{name:.*}/archive", s.headArchive},
		{http.MethodGet, "/containers/{name:.*}/archive", s.getArchive},
		{http.MethodPut, "/containers/{name:.*}/archive", s.putArchive},
		{http.MethodGet, "/containers/{name:.*}/export", s.getExport},
		{http.MethodGet, "/containers/{name:.*}/changes", s.getChanges},
		{http.MethodPost, "/commit", s.postCommit},
	}
}

// setStat puts what is told of a file into the header that clients read.
func setStat(st spec.FileStat, h http.Header) error {
	b, err := json.Marshal(container.PathStat{Name: st.Name, Size: st.Size, Mode: st.Mode, Mtime: st.ModTime, LinkTarget: st.LinkTarget})
	if err != nil {
		return err
	}
	h.Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(b))
	return nil
}

func (s *server) headArchive(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	v, err := httputils.ArchiveFormValues(r, vars)
	if err != nil {
		return err
	}
	st, err := s.e.StatFile(ctx, v.Name, v.Path)
	if err != nil {
		return err
	}
	return setStat(st, w.Header())
}

func (s *server) getArchive(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	v, err := httputils.ArchiveFormValues(r, vars)
	if err != nil {
		return err
	}
	out := &body{w: w}
	err = s.e.GetFiles(ctx, v.Name, v.Path, func(st spec.FileStat) (io.Writer, error) {
		w.Header().Set("Content-Type", "application/x-tar")
		return out, setStat(st, w.Header())
	})
	return s.sent(out, err)
}

func (s *server) getExport(ctx context.Context, w http.ResponseWriter, _ *http.Request, vars map[string]string) error {
	out := &body{w: w}
	return s.sent(out, s.e.Export(ctx, vars["name"], out))
}

// body is an answer that may fail after it has begun.
type body struct {
	w     io.Writer
	begun bool
}

func (b *body) Write(p []byte) (int, error) {
	b.begun = true
	return b.w.Write(p)
}

// sent ends a body. The client of one that failed in the midst gets no orderly
// end, so that it does not take what it has for the whole.
func (s *server) sent(b *body, err error) error {
	if err == nil || !b.begun {
		return err
	}
	s.Log.WithError(err).Debug("answer breaks off")
	panic(http.ErrAbortHandler)
}

func (s *server) putArchive(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	v, err := httputils.ArchiveFormValues(r, vars)
	if err != nil {
		return err
	}
	rest, err := readAll(w, r)
	if err != nil {
		return err
	}
	defer rest()
	return s.e.PutFiles(ctx, v.Name, v.Path, engine.PutOptions{
		NoOverwriteDirNonDir: httputils.BoolValue(r, "noOverwriteDirNonDir"), CopyUIDGID: httputils.BoolValue(r, "copyUIDGID"),
	}, r.Body)
}

func (s *server) getChanges(ctx context.Context, w http.ResponseWriter, _ *http.Request, vars map[string]string) error {
	list, err := s.e.Changes(ctx, vars["name"])
	if err != nil {
		return err
	}
	var out []container.FilesystemChange // null when there are none, as Docker has it
	for _, c := range list {
		out = append(out, container.FilesystemChange{Kind: container.ChangeType(c.Kind), Path: c.Path})
	}
	return httputils.WriteJSON(w, http.StatusOK, out)
}

func (s *server) postCommit(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	if err := httputils.CheckForJSON(r); err != nil {
		return err
	}
	conf, err := commitBody(r.Body)
	if err != nil {
		return err
	}
	name, err := httputils.RepoTagReference(r.Form.Get("repo"), r.Form.Get("tag"))
	if err != nil {
		return badRequest("%v", err)
	}
	id, err := s.e.Commit(ctx, r.Form.Get("container"), engine.CommitOptions{
		Name: name, Author: r.Form.Get("author"), Comment: r.Form.Get("comment"), Changes: r.Form["changes"], Config: conf,
		Pause: httputils.BoolValueOrDefault(r, "pause", true),
	})
	if err != nil {
		return err
	}
	return httputils.WriteJSON(w, http.StatusCreated, &container.CommitResponse{ID: id})
}

// commitBody reads the configuration that a commit may come with; nil: none.
func commitBody(src io.Reader) (*engine.ContainerConfig, error) {
	raw, err := io.ReadAll(io.LimitReader(src, maxBody+1))
	if err != nil {
		return nil, badRequest("%v", err)
	}
	if len(raw) > maxBody {
		return nil, badRequest("invalid JSON: the body is longer than %d bytes", maxBody)
	}
	if len(raw) == 0 {
		return nil, nil
	}
	return engine.ParseConfig(raw)
}

// What docker's container router has of these is not used.

var errOwnRoute = errors.New("files are served by our own routes")

func (b containerBackend) CreateImageFromContainer(context.Context, string, *backend.CreateImageConfig) (string, error) {
	return "", errOwnRoute
}

func (b containerBackend) ContainerArchivePath(string, string) (io.ReadCloser, *container.PathStat, error) {
	return nil, nil, errOwnRoute
}

func (b containerBackend) ContainerExport(context.Context, string, io.Writer) error {
	return errOwnRoute
}

func (b containerBackend) ContainerExtractToDir(string, string, bool, bool, io.Reader) error {
	return errOwnRoute
}

func (b containerBackend) ContainerStatPath(string, string) (*container.PathStat, error) {
	return nil, errOwnRoute
}

func (b containerBackend) ContainerChanges(context.Context, string) ([]archive.Change, error) {
	return nil, errOwnRoute
}
