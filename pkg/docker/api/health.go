package api

import (
	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/types/container"
)

// health is a container's health in Docker's words; nil: it has no check.
func health(h *engine.Health) *container.Health {
	if h == nil {
		return nil
	}
	out := &container.Health{Status: h.Status, FailingStreak: h.FailingStreak, Log: make([]*container.HealthcheckResult, 0, len(h.Log))}
	for _, r := range h.Log {
		out.Log = append(out.Log, &container.HealthcheckResult{Start: r.Start, End: r.End, ExitCode: r.ExitCode, Output: r.Output})
	}
	return out
}
