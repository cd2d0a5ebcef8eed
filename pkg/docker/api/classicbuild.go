package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/builder"
	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/pkg/ioutils"
	"github.com/docker/docker/pkg/jsonmessage"
	"github.com/docker/docker/pkg/streamformatter"
	"github.com/docker/docker/pkg/stringid"
	control "github.com/moby/buildkit/api/services/control"
)

// postBuild is the classic build: the body is the context, the answer a stream of
// messages. A client that goes away stops it.
func (s *server) postBuild(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	b, err := s.builder()
	if err != nil {
		return err
	}
	q, err := parseBuild(r)
	if err != nil {
		return err
	}
	if err := q.Check(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	forget, err := b.Track(q.id, cancel)
	if err != nil {
		return err
	}
	defer forget()
	u, err := b.Use(ctx)
	if err != nil {
		return err
	}
	defer u.Close()
	// What the build says comes while the context is still being read.
	rest, err := readAll(w, r)
	if err != nil {
		return err
	}
	if q.Context != nil {
		defer func() {
			if ctx.Err() == nil { // a build that was cancelled waits for nobody
				rest()
			}
		}()
	}
	w.Header().Set("Content-Type", "application/json")
	out := ioutils.NewWriteFlusher(w)
	defer out.Close()
	m := &buildMessages{out: out, quiet: q.quiet, trace: q.trace}
	id, err := u.Build(ctx, q.Options, m.report)
	if err != nil {
		if !out.Flushed() {
			return err
		}
		_, _ = out.Write(streamformatter.FormatError(err))
		return nil
	}
	m.done(id, q.Names)
	return nil
}

// buildMessages writes Docker's messages of a build. A client that is gone is found
// by the request's context, so errors of writing are not.
type buildMessages struct {
	out          io.Writer
	quiet, trace bool
	text         builder.Text
}

func (m *buildMessages) report(st *control.StatusResponse) {
	if m.trace {
		if raw, err := st.MarshalVT(); err == nil {
			m.aux("moby.buildkit.trace", raw)
		}
		return
	}
	if text := m.text.Add(st); text != "" && !m.quiet {
		m.stream(text)
	}
}

func (m *buildMessages) stream(text string) {
	b, err := json.Marshal(&jsonmessage.JSONMessage{Stream: text})
	if err == nil {
		_, _ = m.out.Write(append(b, "\r\n"...))
	}
}

func (m *buildMessages) aux(id string, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		return
	}
	aux := json.RawMessage(raw)
	b, err := json.Marshal(&jsonmessage.JSONMessage{ID: id, Aux: &aux})
	if err == nil {
		_, _ = m.out.Write(append(b, "\r\n"...))
	}
}

// done tells the result in the words that clients look for.
func (m *buildMessages) done(id string, names []string) {
	if id == "" {
		return // it went elsewhere
	}
	if m.quiet {
		m.stream(id + "\n")
		return
	}
	m.aux(map[bool]string{true: "moby.image.id"}[m.trace], build.Result{ID: id})
	if m.trace {
		return
	}
	m.stream("Successfully built " + stringid.TruncateID(id) + "\n")
	for _, n := range names {
		if !strings.Contains(n[strings.LastIndex(n, "/")+1:], ":") {
			n += ":latest"
		}
		m.stream("Successfully tagged " + n + "\n")
	}
}

// postBuildCancel stops a build by the id that its client gave it.
func (s *server) postBuildCancel(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	b, err := s.builder()
	if err != nil {
		return err
	}
	if err := parseForm(r); err != nil {
		return err
	}
	id := r.Form.Get("id")
	if id == "" {
		return badRequest("build ID not provided")
	}
	b.Cancel(id)
	w.WriteHeader(http.StatusOK)
	return nil
}

// postBuildPrune empties the build cache. Where nothing was ever built there is
// nothing to start a builder for.
func (s *server) postBuildPrune(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	f, err := formFilters(r)
	if err != nil {
		return err
	}
	p, err := pruneRequest(r, f, s.e.Time().Now())
	if err != nil {
		return err
	}
	report := &build.CachePruneReport{CachesDeleted: []string{}}
	if s.Builder == nil {
		return httputils.WriteJSON(w, http.StatusOK, report)
	}
	if made, _ := s.Builder.Exists(); !made {
		return httputils.WriteJSON(w, http.StatusOK, report)
	}
	u, err := s.Builder.Use(ctx)
	if err != nil {
		return err
	}
	defer u.Close()
	gone, err := u.Prune(ctx, p)
	if err != nil {
		return err
	}
	for _, g := range gone {
		report.CachesDeleted = append(report.CachesDeleted, g.ID)
		report.SpaceReclaimed += uint64(max(0, g.Size))
	}
	return httputils.WriteJSON(w, http.StatusOK, report)
}

// pruneRequest translates a prune: filters as BuildKit has them, "type==regular".
func pruneRequest(r *http.Request, f map[string][]string, now time.Time) (*control.PruneRequest, error) {
	p := &control.PruneRequest{All: httputils.BoolValue(r, "all")}
	for _, n := range []struct {
		name string
		at   *int64
	}{{"keep-storage", &p.ReservedSpace}, {"reserved-space", &p.ReservedSpace}, {"max-used-space", &p.MaxUsedSpace}, {"min-free-space", &p.MinFreeSpace}} {
		v := r.Form.Get(n.name)
		if v == "" {
			continue
		}
		b, err := strconv.ParseInt(v, 10, 64)
		if err != nil || b < 0 {
			return nil, badRequest("%s is in bytes and expects an integer, got %v", n.name, v)
		}
		*n.at = b
	}
	var all []string
	for k, vs := range f {
		switch k {
		case "until", "unused-for":
			if len(vs) != 1 {
				return nil, badRequest("filters expect only one value for %q", k)
			}
			at, err := engine.ParseTime(vs[0], now)
			if err != nil {
				return nil, badRequest("%q filter expects a duration (e.g., '24h') or a timestamp: %v", k, err)
			}
			p.KeepDuration = int64(now.Sub(at))
		case "id", "parent", "type", "description":
			for _, v := range vs {
				op := "=="
				if k == "id" {
					op = "~="
				}
				if strings.ContainsAny(v, ",\"") {
					return nil, badRequest("filter %s=%s: no commas or quotes", k, v)
				}
				all = append(all, k+op+v)
			}
		case "inuse", "shared", "private":
			for _, v := range vs {
				if v == "false" {
					all = append(all, k+"==false")
					continue
				}
				all = append(all, k)
			}
		default:
			return nil, badRequest("invalid filter '%s'", k)
		}
	}
	if len(all) > 0 { // one filter whose parts must all hold
		slices.Sort(all)
		p.Filter = []string{strings.Join(all, ",")}
	}
	return p, nil
}
