package vnet

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestPlan(t *testing.T) {
	for text, want := range map[string]string{
		"10.118.0.0/24":   "10.118.0.1 10.118.0.2 127.118.0.0/24",
		"10.118.7.0/24":   "10.118.7.1 10.118.7.2 127.118.7.0/24",
		"10.118.255.0/24": "10.118.255.1 10.118.255.2 127.118.255.0/24",
		"10.118.7.1/24":   "", "10.118.7.0/25": "", "10.118.7.0": "", "10.119.0.0/24": "", "::/24": "", "": "", "::ffff:10.118.0.0/24": "",
	} {
		p, err := ParsePlan(text)
		if want == "" {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: %v, %v", text, p, err)
			}
			continue
		}
		if got := fmt.Sprintln(p.Gateway(), p.Host(), p.Alias()); err != nil || got != want+"\n" || p.Subnet().String() != text {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
	if p, err := NewPlan(netip.Prefix{}); err != nil || p != (Plan{}) {
		t.Errorf("no subnet: %v, %v", p, err)
	}
	seven := Plan{7}
	if a, ok := seven.HostAddress(netip.MustParseAddr("::ffff:10.118.7.20")); !ok || a.String() != "127.118.7.20" {
		t.Errorf("host address %s", a)
	}
	if a, ok := seven.HostAddress(netip.MustParseAddr("10.118.0.20")); ok {
		t.Errorf("host address %s for another lab's guest", a)
	}
	if a, ok := seven.GuestAddress(netip.MustParseAddr("127.118.7.20")); !ok || a.String() != "10.118.7.20" {
		t.Errorf("guest address %s", a)
	}
	if a, ok := seven.GuestAddress(netip.MustParseAddr("127.118.0.20")); ok {
		t.Errorf("guest address %s for another lab's", a)
	}
}

func TestClaim(t *testing.T) {
	first, err := other.Claim("the lab of /first")
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Claim("the lab of /second")
	if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "127.118.251.0/24") || !strings.Contains(err.Error(), "the lab of /first") {
		t.Errorf("second claim: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	again, err := other.Claim("the lab of /second")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	// A program that is no lab is in the way as well.
	l, err := net.Listen("tcp", netip.AddrPortFrom(other.local(1), claimPort).String())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	defer l.Close()
	if _, err := other.Claim("x"); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("claim of a foreign range: %v", err)
	}
}

func TestClaimFree(t *testing.T) {
	a, ca, err := ClaimFree("a")
	if err != nil {
		t.Fatal(err)
	}
	defer ca.Close()
	b, cb, err := ClaimFree("b")
	if err != nil {
		t.Fatal(err)
	}
	defer cb.Close()
	if b.n <= a.n {
		t.Errorf("%s, then %s", a.Subnet(), b.Subnet())
	}
}

func TestForeignLeases(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "leases.json"), []byte(`{"`+mac1+`":{"address":"10.118.3.10","used":"2026-01-01T00:00:00Z"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir, Log: quiet()}); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "10.118.3.10") {
		t.Errorf("leases of another subnet: %v", err)
	}
	if _, err := New(Config{Dir: dir, Plan: Plan{3}, Log: quiet()}); err != nil {
		t.Error(err)
	}
}
