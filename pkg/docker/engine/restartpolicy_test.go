package engine

import (
	"testing"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestRestartPolicyDecides: after an exit, and when the engine comes up.
func TestRestartPolicyDecides(t *testing.T) {
	always, unless, failure, twice := RestartPolicy{Name: "always"}, RestartPolicy{Name: "unless-stopped"}, RestartPolicy{Name: "on-failure"}, RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}
	for _, c := range []struct {
		p             RestartPolicy
		code, count   int
		stopped       bool
		wants, atBoot bool
	}{
		{RestartPolicy{}, 1, 0, false, false, false},
		{RestartPolicy{Name: "no"}, 1, 0, false, false, false},
		{always, 0, 1000, false, true, true},
		{always, 137, 0, true, false, true},
		{unless, 0, 0, false, true, true},
		{unless, 137, 0, true, false, false},
		{failure, 0, 0, false, false, false},
		{failure, 137, 1000, false, true, true}, // as after a power-off by an administrator
		{failure, 1, 0, true, false, false},
		{twice, 1, 1, false, true, true},
		{twice, 1, 2, false, false, false},
	} {
		exit := spec.ExitStatus{Code: c.code}
		if got := c.p.wants(exit, c.count, c.stopped); got != c.wants {
			t.Errorf("%+v after %d, %d restarts, stopped %v: %v", c.p, c.code, c.count, c.stopped, got)
		}
		if got := c.p.wantsAtBoot(exit, c.count, c.stopped); got != c.atBoot {
			t.Errorf("%+v at boot after %d, %d restarts, stopped %v: %v", c.p, c.code, c.count, c.stopped, got)
		}
	}
}
