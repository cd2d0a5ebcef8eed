package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// keyExporter tells which of a solve's exporters sends (session/filesync/filesync.go
// in moby/buildkit). buildkitd counts them as the solve lists them.
const keyExporter = "buildkit-attachable-exporter-id"

// exporterID is which exporter calls; -1 when it does not say.
func exporterID(ctx context.Context) int {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get(keyExporter); len(v) == 1 {
		if n, err := strconv.Atoi(v[0]); err == nil {
			return n
		}
	}
	return -1
}

// exports are the results that solves under way will send here, by session and by
// number of the exporter.
type exports struct {
	mu        sync.Mutex // guards bySession
	bySession map[string]map[string]*export
}

func (x *exports) of(session string, exporter int) *export {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bySession[session][strconv.Itoa(exporter)]
}

// add announces a result. One session has one solve at a time with results of ours:
// a second could not be told from the first.
func (x *exports) add(session string, list map[int]*export) (remove func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.bySession[session]) > 0 {
		return nil, fmt.Errorf("session %s has a build under way whose image is not there yet: %w", session, errdefs.ErrConflict)
	}
	m := map[string]*export{}
	for i, e := range list {
		m[strconv.Itoa(i)] = e
	}
	x.bySession[session] = m
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.bySession, session)
	}, nil
}

// export is one image on its way from buildkitd into the store.
type export struct {
	load  func(ctx context.Context, archive io.Reader) (id string, err error)
	names []string

	mu  sync.Mutex // guards all below
	id  string
	err error
}

// receive reads the archive that buildkitd sends; the image is in the store, or the
// call has failed, when buildkitd gets the answer.
func (e *export) receive(s grpc.ServerStream) error {
	r := &sentBytes{s: s}
	id, err := e.load(s.Context(), r)
	if err == nil { // what pads the archive: the sender would take an early answer for a refusal
		_, err = io.Copy(io.Discard, r)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.id, e.err = id, err
	if err != nil {
		return status.Errorf(codes.Aborted, "image store: %v", err)
	}
	return nil
}

// result is the image's id, once the solve has succeeded.
func (e *export) result() (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil && e.id == "" {
		return "", fmt.Errorf("buildkitd sent no image: %w", errdefs.ErrUnknown)
	}
	return e.id, e.err
}

// sentBytes reads the BytesMessages of a call.
type sentBytes struct {
	s    grpc.ServerStream
	rest []byte
}

func (r *sentBytes) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		var m control.BytesMessage // of the same form as filesync's
		if err := r.s.RecvMsg(&m); err != nil {
			if errors.Is(err, io.EOF) {
				return 0, io.EOF
			}
			return 0, fmt.Errorf("receive image: %w", err)
		}
		r.rest = m.Data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Exporters of a solve. "moby" is the name that clients have for the image store of
// the engine that they talk to; a buildkitd on its own does not know it.
const (
	exporterMoby   = "moby"
	exporterDocker = "docker"
	exporterImage  = "image"
)

// redirect rewrites a solve so that its exporters "moby" send archives, and gives
// the names that each image is to have, by the exporter's number. With push, another
// exporter is added by which buildkitd pushes too.
func redirect(r *control.SolveRequest) (map[int][]string, error) {
	if r.ExporterDeprecated != "" && len(r.Exporters) == 0 {
		r.Exporters = []*control.Exporter{{Type: r.ExporterDeprecated, Attrs: r.ExporterAttrsDeprecated}}
	}
	r.ExporterDeprecated, r.ExporterAttrsDeprecated = "", nil
	out := map[int][]string{}
	var pushes []*control.Exporter
	for i, e := range r.Exporters {
		if e.GetType() != exporterMoby {
			continue
		}
		names, err := imageNames(e.Attrs["name"])
		if err != nil {
			return nil, err
		}
		out[i] = names
		if push, _ := strconv.ParseBool(e.Attrs["push"]); push {
			pushes = append(pushes, &control.Exporter{Type: exporterImage, Attrs: e.Attrs})
		}
		attrs := map[string]string{}
		for k, v := range e.Attrs {
			switch k {
			case "name", "push", "push-by-digest", "registry.insecure", "unpack", "store", "dangling-name-prefix", "name-canonical":
			default: // compression, annotations, times
				attrs[k] = v
			}
		}
		r.Exporters[i] = &control.Exporter{Type: exporterDocker, Attrs: attrs}
	}
	r.Exporters = append(r.Exporters, pushes...)
	return out, nil
}

// imageNames are the names of a solve's image in full.
func imageNames(list string) ([]string, error) {
	var out []string
	for _, n := range strings.Split(list, ",") {
		if n == "" {
			continue
		}
		ref, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			return nil, fmt.Errorf("image name %q: %w: %w", n, err, errdefs.ErrInvalidArgument)
		}
		if _, ok := ref.(reference.Digested); ok {
			return nil, fmt.Errorf("image name %q: a digest is not for giving: %w", n, errdefs.ErrInvalidArgument)
		}
		out = append(out, reference.TagNameOnly(ref).String())
	}
	return out, nil
}
