package portlayer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/events"
	"github.com/vic-engine/vic/portlayer/exec"
	"github.com/vic-engine/vic/portlayer/network"
	"github.com/vic-engine/vic/portlayer/storage"
)

var (
	_ engine.PortLayer  = (*PortLayer)(nil)
	_ engine.Networks   = (*PortLayer)(nil)
	_ engine.Troubled   = (*PortLayer)(nil)
	_ engine.Images     = (*storage.Images)(nil)
	_ storage.Datastore = (*vsphere.Datastore)(nil)
	_ storage.Datastore = (*lateDatastore)(nil)
	_ exec.Datastore    = (*vsphere.Datastore)(nil)
	_ exec.Images       = (*storage.Images)(nil)
	_ network.Files     = (*lateDatastore)(nil)
	_ containers        = (*exec.Manager)(nil)
	_ events.Containers = (*exec.Manager)(nil)
	_ events.Feed       = (*vsphere.Session)(nil)
)

func attachKey(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(b))
}

func testConfig(t *testing.T) Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	log := logrus.New()
	log.SetOutput(t.Output())
	return Config{
		VCH: spec.VCH{
			Name: "VCH001", UUID: "564d1f3b-7d3e-4b1f-8c9a-0d6f5e4c3b2a", Target: "https://127.0.0.1:1/sdk",
			Thumbprint: strings.Repeat("ab", 32), AttachKey: attachKey(t),
			ImageStore: "[mydatastore] VCH001", BootstrapISO: "[mydatastore] VCH001/bootstrap.iso",
			Networks: map[string]spec.VCHNetwork{"bridge": {PortGroup: "VCH Bridge"}},
		},
		SpoolDir: t.TempDir(), Concentrator: l, Log: logrus.NewEntry(log),
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no log":      func(c *Config) { c.Log = nil },
		"no listener": func(c *Config) { c.Concentrator = nil },
		"no spool":    func(c *Config) { c.SpoolDir = "" },
		"bad key":     func(c *Config) { c.VCH.AttachKey = "x" },
		"bad range":   func(c *Config) { c.VCH.BridgeRange = "x" },
		"bad store":   func(c *Config) { c.VCH.ImageStore = "x" },
	} {
		cfg := testConfig(t)
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// Before vSphere answers nothing works, nothing panics, and Run goes on trying.
func TestBeforeConnected(t *testing.T) {
	p, err := New(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	if n := len(p.Containers()); n != 0 {
		t.Errorf("%d containers", n)
	}
	if n := p.Networks(); len(n) != 1 || n[0].Name != "bridge" || n[0].PortGroup != "VCH Bridge" {
		t.Errorf("networks: %+v", n)
	}
	_, err = p.Create(ctx, spec.Container{})
	_, capErr := p.Capacity(ctx)
	for what, err := range map[string]error{
		"create": err, "start": p.Start(ctx, "x"), "remove": p.Remove(ctx, "x", true), "capacity": capErr,
		"pull": func() error { _, _, err := p.Images().Pull(ctx, "busybox", spec.PullOptions{}); return err }(),
	} {
		if err == nil {
			t.Errorf("%s works", what)
		}
		if what != "pull" && !errdefs.IsUnavailable(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	select {
	case <-p.Ready():
		t.Error("ready")
	case err := <-done:
		t.Errorf("Run ended: %v", err)
	default:
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Run ended with %v", err)
	}
}

func TestNameservers(t *testing.T) {
	got := nameservers("# by tether\nsearch lab.test\nnameserver 127.0.0.1\nnameserver 10.118.0.1 \nnameserver\nnameserver x\nnameserver fd00::1\n")
	if !slices.Equal(got, []string{"10.118.0.1", "fd00::1"}) {
		t.Errorf("%v", got)
	}
}

func TestManagementAddress(t *testing.T) {
	for _, tc := range []struct {
		networks map[string]spec.VCHNetwork
		want     string
		is       func(error) bool
	}{
		{networks: map[string]spec.VCHNetwork{"management": {IP: "10.0.0.5/24"}, "external": {IP: "10.1.0.5/24"}}, want: "10.0.0.5"},
		{networks: map[string]spec.VCHNetwork{"external": {IP: "10.1.0.5/24"}}, want: "10.1.0.5"},
		{networks: map[string]spec.VCHNetwork{"external": {MAC: "00:50:56:00:00:01"}}, is: errdefs.IsUnavailable},
		{networks: map[string]spec.VCHNetwork{"bridge": {IP: "172.16.0.1/16"}}, is: errdefs.IsFailedPrecondition},
	} {
		a, err := managementAddress(tc.networks)
		if tc.is != nil && !tc.is(err) || tc.is == nil && (err != nil || a.String() != tc.want) {
			t.Errorf("%+v: %v, %v", tc.networks, a, err)
		}
	}
}
