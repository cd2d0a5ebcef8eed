package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// The builder as users see it: a container, with a volume for its cache.
const (
	BuilderName        = "vic-builder"
	BuilderCacheVolume = "vic-builder-cache"
	// builderLabel marks the builder; its value is a hash of what it was made from.
	builderLabel = "com.vic-engine.builder"
	// builderCache is the capacity of the cache's disk, which is thin.
	builderCache = "32GB"
	// builderIdle is how long an unused builder runs on: the next build of a person
	// who edits and builds again starts at once.
	builderIdle = 10 * time.Minute
	// builderStop is how long buildkitd has to end, in seconds.
	builderStop = 30
)

// DefaultBuilderImage is the image of the builder unless the VCH names another.
const DefaultBuilderImage = "docker.io/moby/buildkit:v0.34.2"

// Defaults of the builder's VM: compilers need more than a container's defaults.
const (
	defaultBuilderMemoryMB = 2048
	defaultBuilderCPUs     = 2
)

// BuilderConfig of a BuilderVM.
type BuilderConfig struct {
	Image    string // default DefaultBuilderImage
	MemoryMB int64  // default 2048
	CPUs     int    // default 2
	// Cache tells whether there is a volume store for the cache. Without, it is on
	// the container's own disk, and slow: overlayfs does not go on top of overlayfs.
	Cache bool
	// Registries are what buildkitd is to know of them.
	Registries Registries
	// Idle is how long it runs unused; 0 is 10 minutes.
	Idle time.Duration
}

// BuilderVM is the container in which buildkitd runs: made at the first build,
// started when it is needed, and stopped when it was idle for a while.
type BuilderVM struct {
	e   *Engine
	cfg BuilderConfig
	// turn is held while the container is made, started or stopped.
	turn chan struct{}

	mu    sync.Mutex // guards all below
	users int
	used  chan struct{} // closed when somebody uses it again; nil when nobody waits
}

// NewBuilderVM describes the builder; nothing is made before it is used.
func (e *Engine) NewBuilderVM(cfg BuilderConfig) (*BuilderVM, error) {
	if cfg.Image == "" {
		cfg.Image = DefaultBuilderImage
	}
	if _, err := reference.ParseNormalizedNamed(cfg.Image); err != nil {
		return nil, invalid("builder image %q: %v", cfg.Image, err)
	}
	if cfg.MemoryMB == 0 {
		cfg.MemoryMB = defaultBuilderMemoryMB
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = defaultBuilderCPUs
	}
	if cfg.Idle == 0 {
		cfg.Idle = builderIdle
	}
	return &BuilderVM{e: e, cfg: cfg, turn: make(chan struct{}, 1)}, nil
}

// Start makes buildkitd run, in a container that is made if need be, and keeps it
// from being stopped until done is called.
func (v *BuilderVM) Start(ctx context.Context) (done func(), err error) {
	v.begin()
	done = sync.OnceFunc(v.end)
	if err := v.start(ctx); err != nil {
		done()
		return nil, fmt.Errorf("builder: %w", err)
	}
	return done, nil
}

func (v *BuilderVM) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.users++
	if v.used != nil {
		close(v.used)
		v.used = nil
	}
}

func (v *BuilderVM) end() {
	v.mu.Lock()
	v.users--
	v.mu.Unlock()
	v.Idle()
}

// Idle lets the builder stop after a while, unless somebody uses it. It is to be
// called once the engine runs: an engine before this one may have left it running.
func (v *BuilderVM) Idle() {
	v.mu.Lock()
	if v.users > 0 || v.used != nil {
		v.mu.Unlock()
		return
	}
	used := make(chan struct{})
	v.used = used
	v.mu.Unlock()
	v.e.job(context.Background(), func(ctx context.Context) { // no request's: the engine's end ends it
		select {
		case <-v.e.clock.After(v.cfg.Idle):
		case <-used:
			return
		case <-ctx.Done():
			return
		}
		if err := v.stop(ctx, used); err != nil {
			v.e.log.WithError(err).Warn("the idle builder could not be stopped")
		}
	})
}

// stop ends a builder that is still unused.
func (v *BuilderVM) stop(ctx context.Context, used chan struct{}) error {
	if err := v.take(ctx); err != nil {
		return err
	}
	defer v.give()
	v.mu.Lock()
	if v.used != used {
		v.mu.Unlock()
		return nil
	}
	v.used = nil
	v.mu.Unlock()
	c, err := v.find()
	if err != nil || !isRunning(c) {
		return nil // there is none, or it is not ours
	}
	seconds := builderStop
	if err := v.e.Stop(ctx, c.Container.ID, StopOptions{Timeout: &seconds}); err != nil && !errdefs.IsNotModified(err) {
		return err
	}
	v.e.log.WithField(spec.FieldContainer, c.Container.ID).Info("the idle builder was stopped")
	return nil
}

func (v *BuilderVM) take(ctx context.Context) error {
	select {
	case v.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *BuilderVM) give() { <-v.turn }

// Exists tells whether the builder was made, and whether it runs.
func (v *BuilderVM) Exists() (made, running bool) {
	c, err := v.find()
	return err == nil, err == nil && isRunning(c)
}

// find gives the builder's container: ErrNotFound when there is none, ErrConflict
// when the name is somebody else's.
func (v *BuilderVM) find() (spec.View, error) {
	c, err := v.e.find(BuilderName)
	if err != nil {
		return c, err
	}
	if c.Container.Name != BuilderName { // an id that begins so cannot be: v is no hex digit
		return c, notFound("there is no builder")
	}
	if _, ok := c.Container.Labels[builderLabel]; !ok {
		return c, conflict("container %s is not the VCH's builder: rename it (docker rename %s NAME), and build again", BuilderName, BuilderName)
	}
	return c, nil
}

func (v *BuilderVM) start(ctx context.Context) error {
	if err := v.take(ctx); err != nil {
		return err
	}
	defer v.give()
	c, err := v.find()
	switch {
	case err == nil && c.Container.Labels[builderLabel] != v.version() && v.alone():
		// The VCH was configured anew. The cache stays.
		if err := v.e.Remove(ctx, c.Container.ID, RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
			return err
		}
	case err == nil && isRunning(c):
		return nil
	case err == nil:
		return lostFiles(started(v.e.Start(ctx, c.Container.ID)))
	case !errdefs.IsNotFound(err):
		return err
	}
	id, err := v.create(ctx)
	if err != nil {
		return err
	}
	return started(v.e.Start(ctx, id))
}

// started takes a container that runs already for one that was started.
func started(err error) error {
	if errdefs.IsNotModified(err) {
		return nil
	}
	return err
}

// lostFiles says what to do about a builder whose disks somebody removed from the
// datastore.
func lostFiles(err error) error {
	var program *spec.StartError
	if !errdefs.IsNotFound(err) || errors.As(err, &program) {
		return err
	}
	return fmt.Errorf("%w (docker rm -f %s and docker volume rm %s let the next build make both anew)", err, BuilderName, BuilderCacheVolume)
}

// alone tells whether nobody but the caller uses the builder.
func (v *BuilderVM) alone() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.users <= 1
}

// version is a hash of all that the container is made from.
func (v *BuilderVM) version() string {
	body, err := v.request()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

// create makes the container, with its image and volume.
func (v *BuilderVM) create(ctx context.Context) (string, error) {
	ref, err := PullRef(v.cfg.Image, "")
	if err != nil {
		if ref, err = PullRef(v.cfg.Image, "latest"); err != nil {
			return "", err
		}
	}
	if _, err := v.e.findImage(ref.String()); errdefs.IsNotFound(err) {
		if _, _, _, err := v.e.Pull(ctx, ref, spec.PullOptions{}); err != nil {
			return "", fmt.Errorf("image %s (vic-machine create --builder-image names another): %w", v.cfg.Image, err)
		}
	}
	if v.cfg.Cache {
		if _, err := v.e.VolumeInspect(BuilderCacheVolume); errdefs.IsNotFound(err) {
			r := spec.VolumeRequest{Name: BuilderCacheVolume, Options: map[string]string{"Capacity": builderCache}, Labels: map[string]string{builderLabel: ""}}
			if _, err := v.e.VolumeCreate(ctx, r); err != nil {
				return "", fmt.Errorf("volume for the cache: %w", err)
			}
		}
	}
	body, err := v.request()
	if err != nil {
		return "", err
	}
	r, err := ParseRequest(body)
	if err != nil {
		return "", err
	}
	r.Config.Labels[builderLabel] = v.version()
	id, warnings, err := v.e.Create(ctx, CreateOptions{Name: BuilderName, Request: r})
	for _, w := range warnings {
		v.e.log.WithField(spec.FieldContainer, id).Debug("builder: " + w)
	}
	return id, err
}

// builderScript writes what buildkitd reads and becomes it. SSL_CERT_DIR makes Go
// trust the VCH's authorities besides those of the image.
const builderScript = `set -e
mkdir -p /etc/buildkit/certs
printf %s "$VIC_BUILDKITD_TOML" >/etc/buildkit/buildkitd.toml
printf %s "$VIC_REGISTRY_CAS" >/etc/buildkit/certs/vch.pem
export SSL_CERT_DIR=/etc/ssl/certs:/etc/buildkit/certs
unset VIC_BUILDKITD_TOML VIC_REGISTRY_CAS
exec buildkitd --config /etc/buildkit/buildkitd.toml`

// request is the create request of the container, in Docker's JSON.
func (v *BuilderVM) request() ([]byte, error) {
	host := map[string]any{
		"Privileged": true, // mounts, cgroups; the VM is the boundary
		"Memory":     v.cfg.MemoryMB << 20,
		"NanoCpus":   int64(v.cfg.CPUs) * 1e9,
	}
	if v.cfg.Cache {
		host["Mounts"] = []map[string]any{{"Type": "volume", "Source": BuilderCacheVolume, "Target": "/var/lib/buildkit"}}
	}
	b, err := json.Marshal(map[string]any{
		"Image":      v.cfg.Image,
		"Entrypoint": []string{"sh", "-c", builderScript},
		"Env":        []string{"VIC_BUILDKITD_TOML=" + v.cfg.Registries.toml(), "VIC_REGISTRY_CAS=" + v.cfg.Registries.CAs},
		"Labels":     map[string]string{"com.vic-engine.about": "docker build of this VCH; started on demand, stopped when idle"},
		"HostConfig": host,
	})
	if err != nil {
		return nil, fmt.Errorf("describe the builder: %w", err)
	}
	return b, nil
}

// Dial opens a stream to buildkitd, over the control line of the container that
// Start has started. It is cut when the process that carries it ends.
func (v *BuilderVM) Dial(ctx context.Context) (net.Conn, error) {
	c, err := v.find()
	if err != nil {
		return nil, err
	}
	if !isRunning(c) {
		return nil, notRunning(BuilderName)
	}
	id, err := newID()
	if err != nil {
		return nil, err
	}
	p := v.e.execProcess(c, ExecOptions{Cmd: []string{"buildctl", "dial-stdio"}, Stdin: true})
	ours, theirs := net.Pipe()
	// Not the dialler's context: that ends when the connection is there.
	run, cancel := v.e.detach(ctx)
	conn := &execConn{Conn: ours, cancel: cancel}
	go func() {
		defer cancel()
		_, err := v.e.pl.Exec(run, c.Container.ID, id, p, spec.Streams{Stdin: theirs, Stdout: theirs, Stderr: io.Discard, StdinOnce: true}, func(int) {})
		if err != nil && run.Err() == nil {
			v.e.log.WithError(err).WithField(spec.FieldContainer, c.Container.ID).Debug("stream to the builder ended")
		}
		_ = errors.Join(theirs.Close(), ours.Close()) // pipes have no errors of their own
	}()
	return conn, nil
}

// execConn ends the exec that carries it when it is closed.
type execConn struct {
	net.Conn
	cancel context.CancelFunc
}

func (c *execConn) Close() error {
	defer c.cancel()
	return c.Conn.Close()
}
