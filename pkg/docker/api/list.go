package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/versions"
)

// annotationsSince is the first version of the API that shows annotations in
// lists.
const annotationsSince = "1.46"

// listBuffer is what goes to the connection at once, in bytes: two full TLS
// records.
const listBuffer = 32 << 10

// listContainers answers GET /containers/json. It is not docker's own handler
// because that encodes all containers anew for each request and sends the text
// in pieces of 4 KiB, each a chunk, a TLS record and a system call.
func (s *server) listContainers(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	o, size, err := listOptions(r)
	if err != nil {
		return err
	}
	old := versions.LessThan(httputils.VersionFromContext(ctx), annotationsSince)
	if size || old {
		list, err := s.summaries(ctx, o, size, !old)
		if err != nil {
			return err
		}
		return httputils.WriteJSON(w, http.StatusOK, list)
	}
	list, err := s.e.ListEncoded(o, encodeSummary)
	if err != nil {
		return err
	}
	n := len("[]\n") + max(0, len(list)-1)
	for _, c := range list {
		n += len(c)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(n))
	w.WriteHeader(http.StatusOK)
	b := bufio.NewWriterSize(w, listBuffer)
	b.WriteByte('[') // the writer keeps its first error for Flush
	for i, c := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(c)
	}
	b.WriteString("]\n")
	return b.Flush()
}

func listOptions(r *http.Request) (o engine.ListOptions, size bool, err error) {
	if err := parseForm(r); err != nil {
		return o, false, err
	}
	f, err := filters.FromJSON(r.Form.Get("filters"))
	if err != nil {
		return o, false, err
	}
	o = engine.ListOptions{All: httputils.BoolValue(r, "all"), Filters: engineFilters(f)}
	if v := r.Form.Get("limit"); v != "" {
		if o.Limit, err = strconv.Atoi(v); err != nil {
			return o, false, badRequest("invalid limit %q: not a number", v)
		}
	}
	// The query parameters of old clients.
	for _, key := range []string{"before", "since"} {
		if v := r.Form.Get(key); v != "" {
			o.Filters[key] = append(o.Filters[key], v)
		}
	}
	return o, httputils.BoolValue(r, "size"), nil
}

func (s *server) summaries(ctx context.Context, o engine.ListOptions, size, annotations bool) ([]*container.Summary, error) {
	list, err := s.e.List(o)
	if err != nil {
		return nil, err
	}
	var sizes map[string]int64
	if size {
		ids := make([]string, 0, len(list))
		for _, i := range list {
			ids = append(ids, i.Container.ID)
		}
		sizes = s.e.RootSizes(ctx, ids)
	}
	out := make([]*container.Summary, 0, len(list))
	for _, i := range list {
		c := summary(*i)
		if size {
			c.SizeRw, c.SizeRootFs = s.rootSizes(sizes, *i)
		}
		if !annotations {
			c.HostConfig.Annotations = nil
		}
		out = append(out, c)
	}
	return out, nil
}

// encodeSummary gives a container's text in a list, which depends on nothing
// but i, so that the engine may keep it.
func encodeSummary(i *engine.Info) ([]byte, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(summary(*i)); err != nil {
		return nil, err
	}
	return []byte(strings.TrimSuffix(b.String(), "\n")), nil
}
