package vsphere

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/collector"
)

// sim is a simulated server that wants user "root", password "pa ss/w@rd".
type sim struct {
	model *simulator.Model
	srv   *simulator.Server
	url   string
}

const password = "pa ss/w@rd"

func newSim(t *testing.T, m *simulator.Model) *sim {
	t.Helper()
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	m.Service.Listen = &url.URL{User: url.UserPassword("root", password)}
	m.Service.TLS = new(tls.Config)
	m.Service.RegisterEndpoints = true
	collector.Install(m.Map())
	srv := m.Service.NewServer()
	t.Cleanup(func() { srv.Close(); m.Remove() })
	u := *srv.URL
	u.User = nil
	return &sim{model: m, srv: srv, url: u.String()}
}

func (s *sim) thumbprints() (sha2, sha1hex string) {
	c := s.srv.Certificate()
	a, b := sha256.Sum256(c.Raw), sha1.Sum(c.Raw)
	return hex.EncodeToString(a[:]), hex.EncodeToString(b[:])
}

func (s *sim) dial(t *testing.T) *Session {
	t.Helper()
	tp, _ := s.thumbprints()
	se, err := Dial(t.Context(), Config{URL: s.url, User: "root", Password: password, Thumbprint: tp})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = se.Logout(context.Background()) })
	return se
}

// dropSession ends the session on the server's side, as its timeout would.
func (s *sim) dropSession(t *testing.T, victim *Session) {
	t.Helper()
	admin := s.dial(t)
	m := session.NewManager(victim.vim)
	us, err := m.UserSession(t.Context())
	if err != nil || us == nil {
		t.Fatalf("current session: %v, %v", us, err)
	}
	if _, err := methods.TerminateSession(t.Context(), admin.vim, &types.TerminateSession{
		This: *admin.vim.ServiceContent.SessionManager, SessionId: []string{us.Key},
	}); err != nil {
		t.Fatal(err)
	}
}

func TestDialThumbprint(t *testing.T) {
	s := newSim(t, simulator.ESX())
	sha2, sha1hex := s.thumbprints()
	colons := strings.ToUpper(s.colons(sha2))

	for _, tp := range []string{sha2, sha1hex, colons} {
		se, err := Dial(t.Context(), Config{URL: s.url, User: "root", Password: password, Thumbprint: tp})
		if err != nil {
			t.Fatalf("thumbprint %s: %v", tp, err)
		}
		if err := se.Logout(t.Context()); err != nil {
			t.Errorf("logout: %v", err)
		}
	}

	for name, cfg := range map[string]Config{
		"other":                  {Thumbprint: strings.Repeat("ab", 32)},
		"unknown":                {},
		"pinned though insecure": {Thumbprint: strings.Repeat("ab", 32), Insecure: true},
	} {
		cfg.URL, cfg.User, cfg.Password = s.url, "root", password
		_, err := Dial(t.Context(), cfg)
		var ce *CertificateError
		if !errors.As(err, &ce) {
			t.Fatalf("%s: want CertificateError, got %v", name, err)
		}
		if ce.Thumbprint != colons || !strings.Contains(err.Error(), colons) {
			t.Errorf("%s: error does not show the thumbprint %s: %v", name, colons, err)
		}
		if !errdefs.IsPermissionDenied(err) {
			t.Errorf("%s: class of %v", name, err)
		}
	}
	if _, err := Dial(t.Context(), Config{URL: s.url, User: "root", Password: password, Insecure: true}); err != nil {
		t.Errorf("insecure: %v", err)
	}
}

func (s *sim) colons(h string) string {
	var parts []string
	for i := 0; i < len(h); i += 2 {
		parts = append(parts, h[i:i+2])
	}
	return strings.Join(parts, ":")
}

func TestDialErrorsHideThePassword(t *testing.T) {
	s := newSim(t, simulator.ESX())
	u, _ := url.Parse(s.url)
	sha2, _ := s.thumbprints()
	for name, tc := range map[string]struct {
		cfg   Config
		class func(error) bool
	}{
		"wrong password":   {Config{URL: s.url, User: "root", Password: "secret", Thumbprint: sha2}, errdefs.IsUnauthorized},
		"wrong in url":     {Config{URL: "https://root:secret@" + u.Host, Thumbprint: sha2}, errdefs.IsUnauthorized},
		"certificate":      {Config{URL: "https://root:secret@" + u.Host}, errdefs.IsPermissionDenied},
		"nobody there":     {Config{URL: "https://root:secret@127.0.0.1:1", Thumbprint: sha2}, errdefs.IsUnavailable},
		"bad url":          {Config{URL: "https://root:secret@[::1"}, errdefs.IsInvalidArgument},
		"no host":          {Config{URL: "root:secret@"}, errdefs.IsInvalidArgument},
		"http":             {Config{URL: "http://root:secret@127.0.0.1:1"}, errdefs.IsInvalidArgument},
		"not a thumbprint": {Config{URL: s.url, User: "root", Password: "secret", Thumbprint: "xyz"}, errdefs.IsInvalidArgument},
	} {
		_, err := Dial(t.Context(), tc.cfg)
		if err == nil || !tc.class(err) {
			t.Errorf("%s: class of %v", name, err)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: password in %v", name, err)
		}
	}
}

func TestSessionIsRenewed(t *testing.T) {
	for name, m := range map[string]*simulator.Model{"esx": simulator.ESX(), "vpx": simulator.VPX()} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, m)
			se := s.dial(t)
			p, err := se.Place(t.Context(), PlaceConfig{})
			if err != nil {
				// VPX has several pools, which has no default.
				p, err = se.Place(t.Context(), PlaceConfig{Pool: "DC0_C0/Resources"})
			}
			if err != nil {
				t.Fatal(err)
			}
			s.dropSession(t, se)
			vms, err := se.VMs(t.Context(), p.Pool)
			if err != nil || len(vms) == 0 {
				t.Fatalf("after the session was lost: %d VMs, %v", len(vms), err)
			}
			if se.Logins() != 2 {
				t.Errorf("logins: %d", se.Logins())
			}
			s.dropSession(t, se)
			if err := se.PowerOff(t.Context(), vms[0].Ref); err != nil {
				t.Errorf("a task after the session was lost: %v", err)
			}
			if err := se.Logout(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := se.VMs(t.Context(), p.Pool); !errdefs.IsUnauthorized(err) {
				t.Errorf("after logout: %v", err)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	for name, m := range map[string]*simulator.Model{"esx": simulator.ESX(), "vpx": simulator.VPX()} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, m)
			se := s.dial(t)
			pool := ""
			if name == "vpx" {
				pool = "DC0_C0/Resources"
			}
			p, err := se.Place(t.Context(), PlaceConfig{Pool: pool})
			if err != nil {
				t.Fatal(err)
			}
			vms, err := se.VMs(t.Context(), p.Pool)
			if err != nil {
				t.Fatal(err)
			}
			vm := vms[0]
			ctx, cancel := context.WithCancel(t.Context())
			subscribed, got, ended := make(chan struct{}), make(chan Change, 100), make(chan error, 1)
			go func() {
				ended <- se.Watch(ctx, p.Folder, func() { close(subscribed) }, func(cs []Change) {
					for _, c := range cs {
						got <- c
					}
				})
			}()
			await(t, subscribed)
			if err := se.PowerOff(t.Context(), vm.Ref); err != nil {
				t.Fatal(err)
			}
			expect(t, got, vm, "VmPoweredOffEvent")
			if err := se.PowerOn(t.Context(), vm.Ref); err != nil {
				t.Fatal(err)
			}
			expect(t, got, vm, "VmPoweredOnEvent")
			if err := se.PowerOff(t.Context(), vm.Ref); err != nil {
				t.Fatal(err)
			}
			expect(t, got, vm, "VmPoweredOffEvent")
			if err := se.Destroy(t.Context(), vm.Ref); err != nil {
				t.Fatal(err)
			}
			expect(t, got, vm, "VmRemovedEvent")
			cancel()
			if err := await(t, ended); !errors.Is(err, context.Canceled) {
				t.Errorf("watch ended with %v", err)
			}
		})
	}
}

func TestWatchEndsWithTheSession(t *testing.T) {
	s := newSim(t, simulator.ESX())
	se := s.dial(t)
	p, err := se.Place(t.Context(), PlaceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	subscribed, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- se.Watch(t.Context(), p.Folder, func() { close(subscribed) }, func([]Change) {}) }()
	await(t, subscribed)
	s.dropSession(t, se)
	vms, _ := se.VMs(t.Context(), p.Pool)
	// Whatever happens to the old feed, an event now must either come or end it.
	if err := se.PowerOff(t.Context(), vms[0].Ref); err != nil {
		t.Fatal(err)
	}
	if err := await(t, ended); err == nil {
		t.Error("watch ended without an error")
	}
}

func expect(t *testing.T, got <-chan Change, vm VM, kind string) {
	t.Helper()
	for {
		c := await(t, got)
		if c.Kind == kind && c.VM == vm.Ref {
			return
		}
	}
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
