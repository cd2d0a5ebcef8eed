package registry

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"
)

// Config of a Registry.
type Config struct {
	// Addr to listen on; default "127.0.0.1:5000". Loopback only.
	Addr string
	// Listener is open already and takes the place of Addr; Run closes it.
	Listener net.Listener
	// Dir keeps blobs; required. Manifests live in memory: Load again after a
	// restart, which writes no blob twice.
	Dir string
	// Damage names repositories whose blobs are served with a wrong byte, for
	// tests of clients: "library/damaged".
	Damage []string
	// Private names prefixes of repositories that want PrivateUser and its password:
	// "private/".
	Private []string
	Log     *logrus.Entry // required
}

// Registry is an OCI registry.
type Registry struct {
	log     *logrus.Entry
	ln      net.Listener
	handler http.Handler
}

// New takes the address; it serves with Run.
func New(cfg Config) (*Registry, error) {
	if cfg.Log == nil || cfg.Dir == "" {
		return nil, fmt.Errorf("registry: no folder or no log: %w", errdefs.ErrInvalidArgument)
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:5000"
	}
	if cfg.Listener != nil {
		cfg.Addr = cfg.Listener.Addr().String()
	}
	host, _, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("registry: address: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("registry: %s is no loopback address, and there is no authentication: %w", host, errdefs.ErrInvalidArgument)
	}
	dir := filepath.Join(cfg.Dir, "blobs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	ln := cfg.Listener
	if ln == nil {
		if ln, err = net.Listen("tcp", cfg.Addr); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
	}
	h := ggcr.New(ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(dir)), ggcr.Logger(stdlog.New(debugWriter{cfg.Log}, "", 0)))
	return &Registry{log: cfg.Log, ln: ln, handler: private(cfg.Private, damage(cfg.Damage, h))}, nil
}

// Addr is where it listens.
func (r *Registry) Addr() net.Addr { return r.ln.Addr() }

// Load puts images in, by their names without a host: "library/busybox:latest".
// It works before Run as well.
func (r *Registry) Load(ctx context.Context, images map[string]v1.Image) error {
	for _, n := range slices.Sorted(maps.Keys(images)) {
		ref, err := name.ParseReference(r.Addr().String()+"/"+n, name.Insecure, name.StrictValidation)
		if err != nil {
			return fmt.Errorf("registry: %w", err)
		}
		if err := remote.Write(ref, images[n], remote.WithContext(ctx), remote.WithTransport(direct{r.handler})); err != nil {
			return fmt.Errorf("registry: load %s: %w", n, err)
		}
		r.log.WithField("image", n).Debug("image loaded")
	}
	return nil
}

// Run serves until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	s := &http.Server{Handler: r.handler, ReadHeaderTimeout: 30 * time.Second, ErrorLog: stdlog.New(debugWriter{r.log}, "", 0)}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	r.log.WithField("address", r.Addr().String()).Info("registry serves")
	if err := s.Serve(r.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("registry: %w", err)
	}
	return nil
}

// debugWriter takes the lines of a standard logger.
type debugWriter struct{ log *logrus.Entry }

func (w debugWriter) Write(b []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(b)))
	return len(b), nil
}
