package exec

import (
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
)

// A snapshot is the same one for as long as it is true, and never longer: all
// that may change a controller makes a new one.
func TestSnapshotsChangeWithTheContainer(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	m := &Manager{cfg: Config{Log: logrus.NewEntry(log)}, byID: map[string]*Controller{}}
	m.cfg.defaults()
	c := newController(m, spec.Container{ID: "one", Name: "one"}, spec.PhaseRunning)
	if err := m.add(c); err != nil {
		t.Fatal(err)
	}
	last := m.Snapshots()[0]
	for _, s := range []struct {
		what   string
		change func()
		true   func(*spec.View) bool
	}{
		{"addresses", func() { m.OnAddresses("one", map[string]string{"bridge": "172.16.0.2/16"}) }, func(v *spec.View) bool { return v.Status.Addresses["bridge"] != "" }},
		{"started", func() { m.OnStarted("one", 7, time.Time{}) }, func(v *spec.View) bool { return v.Status.Pid == 7 }},
		{"reported", func() { c.reported(spec.ExitStatus{Code: 3}) }, func(v *spec.View) bool { return v.Status.Pid == 0 }},
		{"renamed", func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.rename(spec.Container{ID: "one", Name: "two"})
		}, func(v *spec.View) bool { return v.Container.Name == "two" }},
	} {
		s.change()
		now := m.Snapshots()[0]
		if now == last || !s.true(now) {
			t.Errorf("%s: the snapshot is old: %+v", s.what, now.Status)
		}
		_, _, _ = c.ref(), c.inOurHands(), m.generations()
		if v, err := m.Container("one"); err != nil || m.Snapshots()[0] != now || v.Container.Name != now.Container.Name {
			t.Errorf("%s: reading makes another snapshot (%v)", s.what, err)
		}
		last = now
	}
}
