//go:build linux

package session

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
	"github.com/vic-engine/vic/tether/cgroup"
	"github.com/vic-engine/vic/tether/proc"
)

// frozenGroup is a group whose kernel, until the test ends, says that it is what it
// shall be.
func frozenGroup(t *testing.T) *cgroup.Group {
	t.Helper()
	root := t.TempDir()
	put := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("cgroup.controllers", "")
	put("vic/cgroup.controllers", "")
	put("vic/container/cgroup.freeze", "0")
	put("vic/container/cgroup.events", "frozen 0\n")
	g, err := cgroup.Make(root, spec.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for said := "0"; ; {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			b, err := os.ReadFile(filepath.Join(g.Dir(), "cgroup.freeze"))
			if wants := strings.TrimSpace(string(b)); err == nil && wants != "" && wants != said {
				f, err := os.OpenFile(filepath.Join(g.Dir(), "cgroup.events"), os.O_WRONLY, 0)
				if err != nil {
					return // the folder is gone
				}
				_, _ = f.WriteString("frozen " + wants + "\n")
				_ = f.Close()
				said = wants
			}
		}
	}()
	return g
}

// TestPauseBarsExecs: while processes are frozen no exec starts, and what asks the
// container to end thaws it, no other signal.
func TestPauseBarsExecs(t *testing.T) {
	p, err := proc.Start(nil, proc.Options{Process: spec.Process{Path: "/bin/sh", Args: []string{"-c", "trap '' USR1 QUIT; while :; do sleep 1; done"}}})
	if err != nil {
		t.Fatal(err)
	}
	k := &keys{m: map[string]string{}}
	m := &Manager{
		cfg: Config{Container: spec.Container{ID: testID, Process: spec.Process{StopSignal: "SIGQUIT"}}, Reporter: GuestinfoReporter(k)},
		id:  testID, freezing: make(chan struct{}, 1), changed: make(chan struct{}), log: logrus.NewEntry(logrus.New()),
	}
	h := handler{m}
	for what, err := range map[string]error{"pause": h.Pause(t.Context()), "limit": h.Limit(t.Context(), spec.Limits{})} {
		if !errdefs.IsConflict(err) {
			t.Errorf("%s of nothing: %v", what, err)
		}
	}
	m.process = p
	if err := h.Pause(t.Context()); !errdefs.IsNotImplemented(err) {
		t.Errorf("pause without a group: %v", err)
	}
	m.group = frozenGroup(t)
	pause := func() {
		t.Helper()
		if err := h.Pause(t.Context()); err != nil || !m.state.paused || k.m["guestinfo..sessions|"+testID+".paused"] != "true" {
			t.Fatalf("pause: %v, %v, %v", err, m.state.paused, k.m)
		}
	}
	pause()
	if err := h.Pause(t.Context()); err != nil {
		t.Errorf("pause again: %v", err)
	}
	if _, err := h.startExec(tetherproto.ExecRequest{ID: "e"}); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "paused") {
		t.Errorf("exec: %v", err)
	}
	if err := h.Signal(t.Context(), "", "USR1"); err != nil || !m.frozen {
		t.Errorf("another signal: %v, frozen %v", err, m.frozen)
	}
	if err := h.Resume(t.Context()); err != nil || m.frozen || m.state.paused || k.m["guestinfo..sessions|"+testID+".paused"] != "" {
		t.Errorf("resume: %v, frozen %v, %v", err, m.frozen, k.m)
	}
	for _, ends := range []func() error{
		func() error { return h.Signal(t.Context(), "", "QUIT") },
		func() error { return m.Stop(t.Context()) },
		func() error { return m.Signal("KILL") },
	} {
		pause()
		if err := ends(); err != nil || m.frozen {
			t.Errorf("a signal that asks it to end: %v, frozen %v", err, m.frozen)
		}
	}
	<-p.Done()
}
