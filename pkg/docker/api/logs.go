package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/pkg/ioutils"
	"github.com/docker/docker/pkg/stdcopy"
)

func (s *server) containerRoutes() []route {
	return []route{
		{http.MethodGet, "/containers/json", s.listContainers},
		{http.MethodGet, "/containers/{name:.*}/logs", s.getLogs},
		{http.MethodGet, "/containers/{name:.*}/attach/ws", s.attachWebsocket},
	}
}

// getLogs is ours because docker's router reads messages from a channel that
// no one can cut, and stamps them by itself.
func (s *server) getLogs(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	o := engine.LogsOptions{
		Stdout: httputils.BoolValue(r, "stdout"), Stderr: httputils.BoolValue(r, "stderr"),
		Follow: httputils.BoolValue(r, "follow"), Timestamps: httputils.BoolValue(r, "timestamps"), Details: httputils.BoolValue(r, "details"), Tail: -1,
	}
	if !o.Stdout && !o.Stderr {
		return badRequest("Bad parameters: you must choose at least one stream")
	}
	if n, err := strconv.Atoi(r.Form.Get("tail")); err == nil && n >= 0 { // "all", and whatever is no number, is all: as in Docker
		o.Tail = n
	}
	now := s.e.Time().Now()
	var err error
	if o.Since, err = engine.ParseTime(zeroIsNone(r.Form.Get("since")), now); err != nil {
		return err
	}
	if o.Until, err = engine.ParseTime(zeroIsNone(r.Form.Get("until")), now); err != nil {
		return err
	}
	tty, write, err := s.e.LogsOpen(vars["name"], o)
	if err != nil {
		return err
	}
	contentType := types.MediaTypeRawStream
	if !tty && versions.GreaterThanOrEqualTo(httputils.VersionFromContext(ctx), "1.42") {
		contentType = types.MediaTypeMultiplexedStream
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(http.StatusOK)
	wf := ioutils.NewWriteFlusher(w)
	defer wf.Close()
	wf.Flush()
	var stdout, stderr, system io.Writer = wf, wf, wf
	if !tty {
		stdout, stderr = stdcopy.NewStdWriter(wf, stdcopy.Stdout), stdcopy.NewStdWriter(wf, stdcopy.Stderr)
		system = stdcopy.NewStdWriter(wf, stdcopy.Systemerr)
	}
	if err := write(ctx, stdout, stderr); err != nil && ctx.Err() == nil {
		s.Log.WithField("container", vars["name"]).WithError(err).Warn("logs ended early")
		fmt.Fprintf(system, "Error grabbing logs: %v\n", err)
	}
	return nil
}

// zeroIsNone makes "0", which clients send for no bound, an empty text.
func zeroIsNone(s string) string {
	if s == "0" {
		return ""
	}
	return s
}
