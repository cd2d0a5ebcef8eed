package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/vic-engine/vic/pkg/builder"
	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/containerd/log"
	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/server/middleware"
	"github.com/docker/docker/api/server/router"
	"github.com/docker/docker/api/server/router/container"
	"github.com/docker/docker/api/server/router/system"
	"github.com/docker/docker/api/server/router/volume"
	"github.com/docker/docker/api/types"
	"github.com/gorilla/mux"
	"github.com/sirupsen/logrus"
)

// The API versions that are spoken.
const (
	Version    = "1.51"
	MinVersion = "1.24"
)

// Config of the API. Engine, Log and Context must be set.
type Config struct {
	Engine *engine.Engine
	Log    *logrus.Entry
	// Context is the life of the server: the parent of hijacked sessions and of
	// requests (kill, rm, rename) that are finished though the client went.
	Context context.Context
	// Version, Commit and BuildTime are the product's own; Version defaults to "dev".
	Version, Commit, BuildTime string
	// KernelVersion is that of the containers' kernel; empty: not known.
	KernelVersion string
	// Name and ID are the VCH's, for info.
	Name, ID string
	Debug    bool
	// RegistryMirrors and InsecureRegistries are shown by info and used by login.
	RegistryMirrors, InsecureRegistries []string
	// RegistryTransport reaches registries for login; nil is the default one.
	RegistryTransport http.RoundTripper
	// Took is told how long a request took until its answer was written, from its
	// arrival; route is its path with {name} for what varies. For requests that there
	// are not, method and route are empty. Nil: nobody is told.
	Took func(method, route string, d time.Duration)
	// Builder serves docker build; nil: images cannot be built.
	Builder *builder.Builder
}

type server struct {
	Config
	e *engine.Engine
}

// handler is docker's form of a handler: the error is answered by wrap.
type handler = func(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error

type route struct {
	method, path string
	h            handler
}

// New gives the handler that serves the API, with and without version prefix.
func New(cfg Config) (http.Handler, error) {
	if cfg.Engine == nil || cfg.Log == nil || cfg.Context == nil {
		return nil, errors.New("docker api: Engine, Log and Context are needed")
	}
	if cfg.Version == "" {
		cfg.Version = "dev"
	}
	s := &server{Config: cfg, e: cfg.Engine}
	vm, err := middleware.NewVersionMiddleware(cfg.Version, Version, MinVersion)
	if err != nil {
		return nil, err
	}
	m := mux.NewRouter()
	taken := map[string]bool{}
	add := func(method, path string, h handler) {
		// The first to register a route has it: ours come before docker's.
		if taken[method+path] {
			return
		}
		taken[method+path] = true
		hh := s.wrap(path, vm.WrapHandler(h))
		m.Path("/v{version:[0-9.]+}" + path).Methods(method).Handler(hh)
		m.Path(path).Methods(method).Handler(hh)
	}
	for _, rt := range s.ownRoutes() {
		add(rt.method, rt.path, rt.h)
	}
	for _, rr := range []router.Router{
		container.NewRouter(containerBackend{s}, decoder{}, true),
		volume.NewRouter(volumes{s}, noCluster{}),
		system.NewRouter(systemBackend{s}, nil, s.buildBackend(), func() map[string]bool { return map[string]bool{"buildkit": s.Builder != nil} }),
	} {
		for _, rt := range rr.Routes() {
			add(rt.Method(), rt.Path(), rt.Handler())
		}
	}
	missing := s.wrap("", func(context.Context, http.ResponseWriter, *http.Request, map[string]string) error {
		return errPageNotFound
	})
	m.NotFoundHandler, m.MethodNotAllowedHandler = missing, missing
	return m, nil
}

func (s *server) ownRoutes() []route {
	var out []route
	for _, list := range [][]route{s.missingRoutes(), s.buildRoutes(), s.containerRoutes(), s.fileRoutes(), s.imageRoutes(), s.networkRoutes(), s.volumeRoutes(), s.policyRoutes(), s.systemRoutes()} {
		out = append(out, list...)
	}
	return out
}

// wrap answers a handler's error as Docker does, logs the request once, and tells
// how long it took.
func (s *server) wrap(path string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		vars := mux.Vars(r)
		if vars == nil {
			vars = map[string]string{}
		}
		if err := httputils.CheckForJSON(r); err == nil { // archives have other types, and no limit
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		began := s.e.Time().Now()
		if s.Took != nil {
			method := r.Method
			if path == "" {
				method = "" // it may be any word
			}
			defer func() { s.Took(method, path, s.e.Time().Now().Sub(began)) }()
		}
		// docker's routers log through the context.
		err := h(log.WithLogger(r.Context(), s.Log), w, r, vars)
		entry := s.Log.WithFields(logrus.Fields{"method": r.Method, "path": r.URL.Path, "took": s.e.Time().Now().Sub(began).Round(time.Millisecond)})
		if err == nil {
			entry.Debug("request")
			return
		}
		code := statusOf(err)
		entry = entry.WithField("status", code).WithError(err)
		if code >= http.StatusInternalServerError && code != http.StatusNotImplemented && r.Context().Err() == nil {
			entry.Error("request")
		} else {
			entry.Debug("request")
		}
		if code == http.StatusNotModified {
			w.WriteHeader(code)
			return
		}
		if err := httputils.WriteJSON(w, code, &types.ErrorResponse{Message: err.Error()}); err != nil {
			entry.WithError(err).Debug("answer")
		}
	})
}
