package install

import (
	"context"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// TestGrowVolume asks the engine that answers for the VCH, and only it.
func TestGrowVolume(t *testing.T) {
	f := newFixture(t, true)
	ctx := context.Background()
	must(t, Create(ctx, f.create(), f.env()))
	o := GrowOptions{
		Read: ReadOptions{Target: f.target(), Timeout: patience},
		Name: "VCH001", Volume: "db", Size: "2GB", Dial: f.guest.dial,
	}
	log := f.env().Log
	if n, err := GrowVolume(ctx, o, log); err != nil || n != 2<<30 {
		t.Errorf("grow: %d, %v", n, err)
	}
	o.Volume = "nope"
	if _, err := GrowVolume(ctx, o, log); !errdefs.IsNotFound(err) || err.Error() != "get nope: no such volume" {
		t.Errorf("a volume that is not there: %v", err)
	}
	o.Name = "VCH002"
	if _, err := GrowVolume(ctx, o, log); err == nil || !strings.Contains(err.Error(), "VCH002") {
		t.Errorf("a VCH that is not there: %v", err)
	}
}

func TestGrowCertificate(t *testing.T) {
	f := newFixture(t, true)
	ctx := context.Background()
	c := f.create()
	c.TLS.CName = "vch.example"
	must(t, Create(ctx, c, f.env()))
	o := GrowOptions{
		Read: ReadOptions{Target: f.target(), Timeout: patience},
		Name: "VCH001", Volume: "db", Size: "2GB", Dial: f.guest.dial, CertDir: f.work + "/nothing",
	}
	log := f.env().Log
	if _, err := GrowVolume(ctx, o, log); err == nil || !strings.Contains(err.Error(), "must show a certificate") {
		t.Errorf("without a certificate: %v", err)
	}
	o.CertDir = f.work + "/VCH001"
	if n, err := GrowVolume(ctx, o, log); err != nil || n != 2<<30 {
		t.Errorf("grow: %d, %v", n, err)
	}
}
