package portlayer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/network"
	"github.com/vic-engine/vic/portlayer/storage"
	"github.com/vic-engine/vic/portlayer/storage/storagetest"
)

// site is our lab with what an installed VCH has, and a registry.
type site struct {
	t     *testing.T
	lab   *lab.Lab
	store string // the image datastore's directory
	cfg   Config
	image string
	hyp   *hypervisor
	nats  *nats

	wire    chan network.Claim // what is heard on the bridge
	volumes string             // the volume store's directory
	session *vsphere.Session   // of an administrator, when one is wanted
}

func newSite(t *testing.T, mode lab.Mode) *site {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	if testing.Verbose() {
		log.SetOutput(t.Output())
	}
	entry := logrus.NewEntry(log)
	dir := t.TempDir()
	hyp := &hypervisor{log: entry}
	l, err := lab.New(lab.Config{Mode: mode, StateDir: dir, Listen: "127.0.0.1:0", Hypervisor: hyp, Log: entry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	wait(t, l.Ready())

	s := &site{t: t, lab: l, store: filepath.Join(dir, "datastores", "mydatastore"), cfg: testConfig(t), hyp: hyp, nats: &nats{}}
	if err := os.MkdirAll(filepath.Join(s.store, "VCH001"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.store, "VCH001", "bootstrap.iso"), []byte("iso"), 0o644); err != nil {
		t.Fatal(err)
	}
	v := &s.cfg.VCH
	v.Target, v.User, v.Password, v.Thumbprint = l.URL().String(), l.User(), l.Password(), l.Thumbprint()
	v.RootSizeMB = 64
	s.cfg.SetUpNetwork, s.cfg.ReportPorts = s.nats.set, s.nats.report
	s.cfg.VCH.Networks["bridge"] = spec.VCHNetwork{PortGroup: s.cfg.VCH.Networks["bridge"].PortGroup, MAC: "00:50:56:00:00:01"}
	s.wire = make(chan network.Claim)
	s.cfg.ListenARP = func(ctx context.Context, _ string, heard func(network.Claim)) error {
		for {
			select {
			case c := <-s.wire:
				heard(c)
			case <-ctx.Done():
				return nil
			}
		}
	}
	s.volumes = filepath.Join(dir, "datastores", "datastore2", "vols", "volumes")
	s.cfg.VCH.VolumeStores = map[string]string{"default": "[datastore2] vols"}
	s.cfg.DNS = func() []string { return []string{"10.118.0.1"} }
	s.cfg.Log = entry

	reg := httptest.NewServer(registry.New(registry.Logger(stdlog.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	s.image = strings.TrimPrefix(reg.URL, "http://") + "/library/test:latest"
	img, err := random.Image(2000, 2)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(s.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	return s
}

// boot runs a port layer, as vic-engine does; stop ends it.
func (s *site) boot() (p *PortLayer, stop func()) {
	s.t.Helper()
	p, end := s.bootAny()
	return p, func() {
		if err := end(); err != nil {
			s.t.Errorf("port layer: %v", err)
		}
	}
}

// bootAny is boot whose stop gives how the engine ended.
func (s *site) bootAny() (p *PortLayer, stop func() error) {
	s.t.Helper()
	cfg := s.cfg
	l, err := net.Listen("tcp", cfg.Concentrator.Addr().String())
	if err != nil { // the first time it is there already
		l = cfg.Concentrator
	}
	addr := l.Addr().String()
	cfg.Concentrator = l
	cfg.Line = func() (string, error) { return "tcp://" + addr, nil }
	if p, err = New(cfg); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	select {
	case <-p.Ready():
	case err := <-done:
		s.t.Fatal(err)
	case <-time.After(patience):
		s.t.Fatal("not ready")
	}
	return p, func() error { cancel(); return <-done }
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func (s *site) container(n int, image spec.Image, path string, args ...string) spec.Container {
	return spec.Container{
		ID: fmt.Sprintf("%064x", n), Name: fmt.Sprintf("c%d", n), Repo: s.image, ImageID: image.ID,
		Process: spec.Process{Path: path, Args: args}, Endpoints: []spec.Endpoint{{Network: "bridge"}},
	}
}

func logsOf(t *testing.T, p *PortLayer, id string) string {
	t.Helper()
	var b strings.Builder
	err := p.Logs(t.Context(), id, spec.LogOptions{Stdout: true, Stderr: true, Tail: -1}, func(e spec.LogEntry) error {
		fmt.Fprintf(&b, "%d:%s", e.Stream, e.Data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// One container from pull to remove, over a restart of the engine, with the real
// protocols everywhere.
func TestWholePath(t *testing.T) {
	for _, mode := range []lab.Mode{lab.ModeESXi, lab.ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) {
			s := newSite(t, mode)
			p, stop := s.boot()
			img, _, err := p.Images().Pull(t.Context(), s.image, spec.PullOptions{})
			if err != nil {
				t.Fatal(err)
			}

			// docker run: attach, start, output, exit code.
			c := s.container(1, img, "/bin/exit", "7")
			c.Process.Attach = true
			v, err := p.Create(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if d := v.Container.DNS.Servers; len(d) != 1 || d[0] != "10.118.0.1" {
				t.Errorf("DNS servers: %v", d)
			}
			var out bytes.Buffer
			parked, over := make(chan struct{}), make(chan error, 1)
			go func() {
				over <- p.Attach(context.Background(), c.ID, spec.Streams{Stdout: &out, Joined: func() { close(parked) }})
			}()
			wait(t, parked)
			if err := p.Start(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
			if err := wait(t, over); err != nil || out.String() != "7\n" {
				t.Errorf("attach: %q, %v", out.String(), err)
			}
			if st, err := p.Wait(t.Context(), c.ID, false); err != nil || st.Code != 7 {
				t.Errorf("exit: %+v, %v", st, err)
			}
			if got := logsOf(t, p, c.ID); got != "1:7\n" {
				t.Errorf("logs: %q", got)
			}

			// A command that does not exist.
			bad := s.container(2, img, "/nope")
			bad.Process.Attach = true
			if _, err := p.Create(t.Context(), bad); err != nil {
				t.Fatal(err)
			}
			var se *spec.StartError
			if err := p.Start(t.Context(), bad.ID); !errors.As(err, &se) || se.Code != spec.ExitNotFound {
				t.Errorf("unknown command: %v", err)
			}

			// A service goes on while the engine restarts.
			svc := s.container(3, img, "/bin/serve", "ready")
			if _, err := p.Create(t.Context(), svc); err != nil {
				t.Fatal(err)
			}
			if err := p.Start(t.Context(), svc.ID); err != nil {
				t.Fatal(err)
			}
			stop()
			p, stop = s.boot()
			defer func() { stop() }()
			want := map[string]spec.Phase{c.ID: spec.PhaseExited, bad.ID: spec.PhaseExited, svc.ID: spec.PhaseRunning}
			got := map[string]spec.Phase{}
			for _, v := range p.Containers() {
				got[v.Container.ID] = v.Status.Phase
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("after a restart:\n%s", d)
			}
			if l := p.Images().List(); len(l) != 1 || l[0].ID != img.ID {
				t.Errorf("images after a restart: %+v", l)
			}
			out.Reset()
			st, err := p.Exec(t.Context(), svc.ID, "x", spec.Process{Path: "/bin/ls", Args: []string{"-l"}}, spec.Streams{Stdout: &out}, func(int) {})
			if err != nil || st.Code != 3 || out.String() != "/bin/ls [-l]" {
				t.Errorf("exec: %+v %q %v", st, out.String(), err)
			}
			lines := make(chan string, 10)
			go func() {
				over <- p.Logs(context.Background(), svc.ID, spec.LogOptions{Stdout: true, Stderr: true, Tail: -1, Follow: true}, func(e spec.LogEntry) error {
					lines <- string(e.Data)
					return nil
				})
			}()
			if l := wait(t, lines); l != "ready\n" {
				t.Errorf("follow: %q", l)
			}
			if err := p.Stop(t.Context(), svc.ID, "", patience); err != nil {
				t.Fatal(err)
			}
			if l := wait(t, lines); l != "got SIGTERM\n" {
				t.Errorf("follow: %q", l)
			}
			if err := wait(t, over); err != nil {
				t.Errorf("follow: %v", err)
			}
			if st, err := p.Wait(t.Context(), svc.ID, false); err != nil || st.Code != 0 {
				t.Errorf("stopped: %+v, %v", st, err)
			}
			if cap, err := p.Capacity(t.Context()); err != nil || cap.CPUs == 0 || cap.StorageFree == 0 || cap.ProductName == "" {
				t.Errorf("capacity: %+v, %v", cap, err)
			}
			if n, err := p.RootSize(t.Context(), svc.ID); err != nil || n < 100<<10 { // more than the descriptor of the disk
				t.Errorf("size of a container's disk: %d, %v", n, err)
			}
			if st, err := p.Site(t.Context()); err != nil || st.DefaultCPUs == 0 || st.DefaultRootMB == 0 {
				t.Errorf("site: %+v, %v", st, err)
			}
			for id := range want {
				if err := p.Remove(t.Context(), id, false); err != nil {
					t.Error(err)
				}
			}
			if _, err := p.Images().Delete(t.Context(), img.ID, append(img.RepoTags, img.RepoDigests...)...); err != nil {
				t.Error(err)
			}
			left, err := os.ReadDir(s.store)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range left {
				if len(e.Name()) == 64 {
					t.Errorf("left behind: %s", e.Name())
				}
			}
		})
	}
}

// A vSphere that refuses ends Run at once, naming what it refuses.
func TestRunRefused(t *testing.T) {
	s := newSite(t, lab.ModeESXi)
	for what, tc := range map[string]struct {
		change func(*spec.VCH)
		is     func(error) bool
	}{
		"password":   {func(v *spec.VCH) { v.Password = "wrong" }, errdefs.IsUnauthorized},
		"thumbprint": {func(v *spec.VCH) { v.Thumbprint = strings.Repeat("ab", 32) }, errdefs.IsPermissionDenied},
		"pool":       {func(v *spec.VCH) { v.Pool = "/ha-datacenter/host/none/Resources" }, errdefs.IsNotFound},
		"datastore":  {func(v *spec.VCH) { v.ImageStore = "[none] x" }, errdefs.IsNotFound},
	} {
		cfg := s.cfg
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Concentrator = l
		tc.change(&cfg.VCH)
		p, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); !tc.is(err) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDatastoreSuite(t *testing.T) {
	for _, mode := range []lab.Mode{lab.ModeESXi, lab.ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) {
			s := newSite(t, mode)
			v := s.cfg.VCH
			se, err := vsphere.Dial(t.Context(), vsphere.Config{URL: v.Target, User: v.User, Password: v.Password, Thumbprint: v.Thumbprint})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = se.Logout(context.Background()) })
			place, err := se.Place(t.Context(), vsphere.PlaceConfig{})
			if err != nil {
				t.Fatal(err)
			}
			ds, err := se.Datastore(t.Context(), vsphere.DatastoreConfig{Name: "mydatastore", Pool: &place.Pool, Folder: &place.Folder, Host: place.Host})
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			storagetest.Run(t, func(t *testing.T) (storage.Datastore, string) {
				n++
				root := ds.Path(fmt.Sprintf("suite%d", n))
				if err := ds.Mkdir(t.Context(), root); err != nil {
					t.Fatal(err)
				}
				return ds, root
			})
		})
	}
}
