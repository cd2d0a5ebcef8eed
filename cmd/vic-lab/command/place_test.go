package command

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/vnet"
)

// options of a lab of its own, whose ports are any free ones.
func options(t *testing.T) *upOptions {
	o := &upOptions{mode: "esxi", listen: "127.0.0.1:0", registry: "127.0.0.1:0"}
	o.dir = t.TempDir()
	return o
}

func mustTake(t *testing.T, o *upOptions) *taken {
	t.Helper()
	at, err := take(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(at.Close)
	return at
}

func TestTwoLabs(t *testing.T) {
	a, b := options(t), options(t)
	first, second := mustTake(t, a), mustTake(t, b)
	if first.plan == second.plan || first.api.Addr().String() == second.api.Addr().String() {
		t.Fatalf("two labs at %s and %s", first.plan.Subnet(), second.plan.Subnet())
	}
	// By name, the subnet of another is not to be had.
	c := options(t)
	c.subnet = first.plan.Subnet().String()
	_, err := take(c)
	if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), a.dir) || !strings.Contains(err.Error(), first.plan.Alias().String()) ||
		!strings.Contains(err.Error(), "another --subnet") {
		t.Errorf("the subnet of another: %v", err)
	}
	if c.noForwards = true; mustTake(t, c).plan != first.plan {
		t.Error("without forwards two labs are in each other's way")
	}
	for _, bad := range []string{"10.117.0.0/24", "7", "10.118.0.0/16"} {
		c.subnet = bad
		if _, err := take(c); !errdefs.IsInvalidArgument(err) {
			t.Errorf("--subnet %s: %v", bad, err)
		}
	}
}

// TestPlaceAgain: a lab comes back where it was, or says who is there now.
func TestPlaceAgain(t *testing.T) {
	o := options(t)
	first := mustTake(t, o)
	plan, api, registry := first.plan, first.api.Addr().String(), first.registry.Addr().String()
	first.Close()

	again := &upOptions{}
	again.dir = o.dir
	at := mustTake(t, again)
	if at.plan != plan || at.api.Addr().String() != api || at.registry.Addr().String() != registry {
		t.Fatalf("%s %s %s, was %s %s %s", at.plan.Subnet(), at.api.Addr(), at.registry.Addr(), plan.Subnet(), api, registry)
	}
	at.Close()
	// Without a registry for once, its address is not forgotten.
	again.noRegistry = true
	mustTake(t, again).Close()
	if p, err := loadPlace(o.dir); err != nil || p.Registry != registry {
		t.Errorf("place %+v, %v", p, err)
	}
	again.noRegistry = false

	other := "10.118.0.0/24"
	if plan.Subnet().String() == other {
		other = "10.118.1.0/24"
	}
	again.subnet = other
	if _, err := take(again); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), plan.Subnet().String()) {
		t.Errorf("another subnet than before: %v", err)
	}
	again.subnet = ""
	thief, err := plan.Claim("the lab in /elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	_, err = take(again)
	if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "the lab in /elsewhere") || !strings.Contains(err.Error(), "vic-lab down") {
		t.Errorf("taken subnet: %v", err)
	}
	_ = thief.Close()
	for what, addr := range map[string]string{"--listen": api, "--registry-listen": registry} {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := take(again); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), addr) || !strings.Contains(err.Error(), what) {
			t.Errorf("taken %s: %v", what, err)
		}
		_ = l.Close()
	}
	mustTake(t, again) // what failed has left nothing behind
}

func TestTakePort(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	addr := busy.Addr().String()
	l, err := takePort("x", "--x", "", "", addr)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Addr().String(); got == addr || !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("instead of a taken default: %s", got)
	}
	_ = l.Close()
	if _, err := takePort("x", "--x", addr, "", "127.0.0.1:0"); err == nil {
		t.Error("another port than the one asked for")
	}
	for _, open := range []string{"0.0.0.0:0", ":0", "192.0.2.1:1", "nonsense"} {
		if _, err := takePort("x", "--x", open, "", ""); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", open, err)
		}
	}
}

func TestLoadPlace(t *testing.T) {
	dir := t.TempDir()
	if p, err := loadPlace(dir); err != nil || p.Subnet.IsValid() {
		t.Errorf("a new lab: %+v %v", p, err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mode", "esxi")
	if p, err := loadPlace(dir); err != nil || p.Subnet.String() != "10.118.0.0/24" {
		t.Errorf("an old lab: %+v %v", p, err)
	}
	write(placeFile, "{")
	if _, err := loadPlace(dir); err == nil || !strings.Contains(err.Error(), placeFile) {
		t.Errorf("a broken file: %v", err)
	}
	write(placeFile, `{"subnet":"10.0.0.0/8","api":"127.0.0.1:0"}`)
	o := &upOptions{}
	o.dir = dir
	if _, err := take(o); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), placeFile) {
		t.Errorf("a wrong subnet: %v", err)
	}
}

// TestLabConfig: what the lab tells vSphere clients follows its subnet.
func TestLabConfig(t *testing.T) {
	plan, err := vnet.ParsePlan("10.118.7.0/24")
	if err != nil {
		t.Fatal(err)
	}
	o := options(t)
	c := labConfig(o, &taken{plan: plan}, noVMs{}, logrus.NewEntry(logrus.New()))
	if c.ManagementIP.String() != "10.118.7.2" || c.Mode != lab.ModeESXi || c.StateDir != o.dir {
		t.Errorf("config %+v", c)
	}
	for _, x := range []struct{ network, guest, shown string }{
		{"VM Network", "10.118.7.10", "127.118.7.10"},
		{"VM Network", "10.118.0.10", "10.118.0.10"},
		{"VCH Bridge", "10.118.7.10", "10.118.7.10"},
		{"VM Network", "fe80::1", "fe80::1"},
	} {
		if got := c.ShownAddress(x.network, netip.MustParseAddr(x.guest)); got.String() != x.shown {
			t.Errorf("%s of %s is shown as %s", x.guest, x.network, got)
		}
	}
	o.noForwards = true
	if got := c.ShownAddress("VM Network", netip.MustParseAddr("10.118.7.10")); got.String() != "10.118.7.10" {
		t.Errorf("without forwards, %s is shown", got)
	}
}
