package command

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
)

func TestUpOptions(t *testing.T) {
	term, _, _ := terminal(map[string]string{"HOME": "/home/me"})
	o := &upOptions{capacity: "20GB"}
	if err := o.complete(term); err != nil {
		t.Fatal(err)
	}
	if o.dir != "/home/me/.vic-lab" || o.capacityInB != 20_000_000_000 || o.mode != "esxi" || !strings.HasSuffix(o.probe, "/bootstrap.iso") {
		t.Errorf("options %+v", o)
	}
	if err := (&upOptions{capacity: "much"}).complete(term); !errdefs.IsInvalidArgument(err) {
		t.Errorf("capacity: %v", err)
	}
	none, _, _ := terminal(nil)
	if err := (&upOptions{}).complete(none); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no home: %v", err)
	}
	state, _, _ := terminal(map[string]string{"HOME": "/home/me", "XDG_STATE_HOME": "/state", "VIC_LAB_STATE": ""})
	x := &upOptions{}
	if err := x.complete(state); err != nil || x.dir != "/state/.vic-lab" {
		t.Errorf("state %s, %v", x.dir, err)
	}
}

// TestDaemonArgs: what the daemon is told is what was asked for.
func TestDaemonArgs(t *testing.T) {
	term, _, _ := terminal(map[string]string{"HOME": "/home/me"})
	asked := &upOptions{mode: "vcenter", subnet: "10.118.9.0/24", listen: "127.0.0.1:1", registry: "127.0.0.1:2", capacity: "1GB", datastores: []string{"a", "b c"},
		accel: "tcg", probe: "/p.iso", images: "/i", noRegistry: true, noForwards: true, debug: true}
	asked.dir = "/tmp/state"
	if err := asked.complete(term); err != nil {
		t.Fatal(err)
	}
	told := &upOptions{}
	c := &cobra.Command{}
	told.AddFlags(c.Flags())
	args := asked.args()
	if err := c.ParseFlags(args[1:]); err != nil {
		t.Fatal(err)
	}
	if err := told.complete(term); err != nil {
		t.Fatal(err)
	}
	asked.foreground = true
	if a, b := *asked, *told; a.mode != b.mode || a.subnet != b.subnet || a.listen != b.listen || a.registry != b.registry || a.capacityInB != b.capacityInB ||
		strings.Join(a.datastores, "|") != strings.Join(b.datastores, "|") || a.accel != b.accel || a.probe != b.probe || a.images != b.images ||
		!b.noRegistry || !b.noForwards || !b.debug || !b.foreground || a.dir != b.dir {
		t.Errorf("asked %+v\ntold %+v", a, b)
	}
}

func TestUpWhenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	state, _ := running(t, ctx)
	term, out, _ := terminal(map[string]string{"VIC_LAB_STATE": state})
	if code := Execute(ctx, []string{"up"}, term); code != 0 {
		t.Fatalf("code %d", code)
	}
	for _, want := range []string{"lab (esxi) is up", "user        root", "thumbprint", "registry    http://registry.lab.test:5000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	pass, err := os.ReadFile(filepath.Join(state, "password"))
	if err != nil || strings.Contains(out.String(), strings.TrimSpace(string(pass))) {
		t.Errorf("the password is shown: %v", err)
	}
	term, _, errs := terminal(map[string]string{"VIC_LAB_STATE": state})
	if code := Execute(ctx, []string{"up", "--mode", "vcenter"}, term); code == 0 || !strings.Contains(errs.String(), "is up in mode esxi") {
		t.Errorf("other mode: %d %s", code, errs)
	}
}

func TestRunDir(t *testing.T) {
	if got := runDir("/home/me/.vic-lab", ""); got != "/home/me/.vic-lab/run" {
		t.Errorf("short: %s", got)
	}
	long := "/" + strings.Repeat("long/", 30)
	a, b := runDir(long, "/run/user/1000"), runDir(long+"x", "/run/user/1000")
	if a == b || !strings.HasPrefix(a, "/run/user/1000/vic-lab-") || len(a) > 70 || runDir(long, "/run/user/1000") != a {
		t.Errorf("long: %s %s", a, b)
	}
}
