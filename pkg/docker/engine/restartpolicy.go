package engine

import "github.com/vic-engine/vic/pkg/spec"

// unlessStopped is the policy for which it counts whether the user stopped a container.
const unlessStopped = "unless-stopped"

func (p RestartPolicy) check() error {
	switch p.Name {
	case "always", unlessStopped, "no":
		if p.MaximumRetryCount > 0 {
			return invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'")
		}
		if p.MaximumRetryCount < 0 {
			return invalid("invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative")
		}
	case "on-failure":
		if p.MaximumRetryCount < 0 {
			return invalid("invalid restart policy: maximum retry count cannot be negative")
		}
	case "":
	default:
		return invalid("invalid restart policy: unknown policy '%s'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'", p.Name)
	}
	return nil
}

// restarts tells whether the policy ever starts a container.
func (p RestartPolicy) restarts() bool { return p.Name != "" && p.Name != "no" }

// wants decides on one exit: whether a container with this policy is to be
// started again after it ended with exit, having been restarted count times,
// and being stopped by its user or not.
func (p RestartPolicy) wants(exit spec.ExitStatus, count int, stopped bool) bool {
	if stopped {
		return false
	}
	switch p.Name {
	case "always", unlessStopped:
		return true
	case "on-failure":
		return exit.Code != 0 && (p.MaximumRetryCount == 0 || count < p.MaximumRetryCount)
	}
	return false
}

// wantsAtBoot decides the same when the engine comes up and finds a container
// that is not running. Docker starts "always" even if the user stopped it.
func (p RestartPolicy) wantsAtBoot(exit spec.ExitStatus, count int, stopped bool) bool {
	return p.wants(exit, count, stopped && p.Name != "always")
}
