package builder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
)

// Options of a classic build: those of POST /build that BuildKit's Dockerfile
// frontend knows.
type Options struct {
	// Context is a tar, packed or not; nil with Remote or Session.
	Context io.Reader
	// Remote is a URL of a tar, a Dockerfile, or a git repository.
	Remote string
	// Session is the id of a client's session that has the context.
	Session string

	Dockerfile string // path in the context; empty: Dockerfile
	Target     string
	// Args without a value are left to the Dockerfile's defaults.
	Args     map[string]*string
	Labels   map[string]string
	Names    []string // of the result
	NoCache  bool
	Pull     bool
	Platform string
	// Network is "", "default", "host" (of the builder's VM) or "none".
	Network string
	// Hosts are "name:address".
	Hosts     []string
	CacheFrom []string // images
	ShmBytes  int64
	Ulimits   []string // "nofile=1024:2048"
	// Output is another exporter than the image store; nil: the image store.
	Output *Output
	// Credentials by registry host, as X-Registry-Config has them.
	Credentials map[string]Credential
}

// Output is where a result goes besides the image store. Type "cacheonly" leaves it
// in the cache.
type Output struct {
	Type  string
	Attrs map[string]string
}

// Progress is told what a build does; called from one goroutine at a time.
type Progress func(*control.StatusResponse)

// Build builds and gives the image's id, which is empty with another Output. It ends
// with ctx. Context may be in a Read when it returns, so whoever gave it is to close it.
func (u *Use) Build(ctx context.Context, o Options, p Progress) (id string, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ref, err := randomID()
	if err != nil {
		return "", err
	}
	r, err := o.solve(ref)
	if err != nil {
		return "", err
	}
	if err := u.b.addLocal(ctx, r.FrontendAttrs, &o); err != nil {
		return "", err
	}
	if r.Session == "" {
		s := newOwnSession(u.b, ref, o)
		r.Session = ref
		ended := make(chan error, 1)
		go func() {
			ended <- u.b.attach(ctx, u.conn, s.server(), s.headers())
		}()
		defer func() {
			cancel()
			<-ended
		}()
	}
	told := make(chan error, 1)
	go func() { told <- u.follow(ctx, ref, p) }()
	resp, err := u.b.run(ctx, u.conn, r)
	if err != nil {
		cancel()
	}
	if terr := <-told; err == nil && terr != nil {
		return "", fmt.Errorf("progress of the build: %w", fromStatus(terr))
	}
	if err != nil {
		return "", fromStatus(err)
	}
	return resp.ExporterResponse["containerimage.config.digest"], nil
}

// follow hands on what buildkitd says of a build until that is over.
func (u *Use) follow(ctx context.Context, ref string, p Progress) error {
	s, err := control.NewControlClient(u.conn).Status(ctx, &control.StatusRequest{Ref: ref}, grpc.WaitForReady(false))
	if err != nil {
		return err
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		p(m)
	}
}

// Check finds what is wrong with the options, before a builder is started for them.
func (o Options) Check() error {
	_, err := o.solve("")
	return err
}

// solve translates the options; errors name the option.
func (o Options) solve(ref string) (*control.SolveRequest, error) {
	attrs := map[string]string{"image-resolve-mode": "default"}
	if o.Pull {
		attrs["image-resolve-mode"] = "pull"
	}
	set := func(k, v string) {
		if v != "" {
			attrs[k] = v
		}
	}
	set("target", o.Target)
	set("filename", o.Dockerfile)
	set("platform", o.Platform)
	set("ulimit", strings.Join(o.Ulimits, ","))
	if o.NoCache {
		attrs["no-cache"] = ""
	}
	if o.ShmBytes > 0 {
		attrs["shm-size"] = fmt.Sprint(o.ShmBytes)
	}
	for k, v := range o.Args {
		if v != nil {
			attrs["build-arg:"+k] = *v
		}
	}
	for k, v := range o.Labels {
		attrs["label:"+k] = v
	}
	r := &control.SolveRequest{Ref: ref, Session: o.Session, Frontend: "dockerfile.v0", FrontendAttrs: attrs, Cache: &control.CacheOptions{}}
	switch o.Network {
	case "", "default", "bridge":
	case "host":
		attrs["force-network-mode"] = "host"
		r.Entitlements = []string{"network.host"}
	case "none":
		attrs["force-network-mode"] = "none"
	default:
		return nil, fmt.Errorf("network mode %q of a build: there are default, host and none: %w", o.Network, errdefs.ErrInvalidArgument)
	}
	hosts, err := addHosts(o.Hosts)
	if err != nil {
		return nil, err
	}
	set("add-hosts", hosts)
	switch {
	case o.Remote != "" && !isRemote(o.Remote):
		return nil, fmt.Errorf("remote context %q: want the URL of a tar or of a Dockerfile (http, https), or a git repository (git, ssh, https): %w", o.Remote, errdefs.ErrInvalidArgument)
	case o.Remote != "":
		attrs["context"] = o.Remote
	case o.Context != nil:
		attrs["context"] = contextURL
	case o.Session == "":
		return nil, fmt.Errorf("a build without a context: %w", errdefs.ErrInvalidArgument)
	}
	for _, ref := range o.CacheFrom {
		if ref == "" {
			continue
		}
		r.Cache.Imports = append(r.Cache.Imports, &control.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": ref}})
	}
	if v := o.Args["BUILDKIT_INLINE_CACHE"]; v != nil && (*v == "1" || *v == "true") {
		r.Cache.Exports = []*control.CacheOptionsEntry{{Type: "inline"}}
	}
	switch {
	case o.Output == nil:
		if _, err := imageNames(strings.Join(o.Names, ",")); err != nil {
			return nil, err
		}
		r.Exporters = []*control.Exporter{{Type: exporterMoby, Attrs: map[string]string{"name": strings.Join(o.Names, ",")}}}
	case o.Output.Type == "cacheonly":
	case o.Session == "":
		return nil, fmt.Errorf("output of type %q: only a client with a session (buildx) can take it: %w", o.Output.Type, errdefs.ErrNotImplemented)
	default:
		e := &control.Exporter{Type: o.Output.Type, Attrs: maps.Clone(o.Output.Attrs)}
		if e.Type == exporterImage {
			e.Type = exporterMoby
		}
		if e.Attrs == nil {
			e.Attrs = map[string]string{}
		}
		if e.Type == exporterMoby && e.Attrs["name"] == "" {
			e.Attrs["name"] = strings.Join(o.Names, ",")
		}
		r.Exporters = []*control.Exporter{e}
	}
	return r, nil
}

// isRemote tells whether BuildKit can fetch a context. What else it takes there (an
// image, a layout) is none for a classic build.
func isRemote(remote string) bool {
	return slices.ContainsFunc([]string{"http://", "https://", "git://", "ssh://", "git@", "github.com/"},
		func(p string) bool { return strings.HasPrefix(remote, p) })
}

// addHosts is the frontend's form of --add-host: "name=address,…".
func addHosts(list []string) (string, error) {
	var out []string
	for _, h := range list {
		name, addr, ok := strings.Cut(h, ":")
		if !ok || name == "" || addr == "" {
			return "", fmt.Errorf("extra host %q: want NAME:ADDRESS: %w", h, errdefs.ErrInvalidArgument)
		}
		if addr == "host-gateway" {
			return "", fmt.Errorf("extra host %q: a build has no host whose gateway it could be; name the address: %w", h, errdefs.ErrInvalidArgument)
		}
		if strings.ContainsAny(h, ",=") {
			return "", fmt.Errorf("extra host %q: want NAME:ADDRESS: %w", h, errdefs.ErrInvalidArgument)
		}
		out = append(out, name+"="+strings.Trim(addr, "[]"))
	}
	slices.Sort(out)
	return strings.Join(out, ","), nil
}

func randomID() (string, error) {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make an id of a build: %w", err)
	}
	return hex.EncodeToString(b), nil
}
