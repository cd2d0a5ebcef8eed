package engine

import (
	"context"

	"github.com/vic-engine/vic/pkg/spec"
)

// SystemInfo is the truth that `docker info` shows.
type SystemInfo struct {
	// Running are those that are not paused.
	Containers, Running, Paused, Stopped int
	Images                               int
	Networks                             []spec.Network
	Capacity                             spec.Capacity
	EventReaders                         int // clients that read events now
	// DockerSocket: containers may bind /var/run/docker.sock.
	DockerSocket bool
	Site         spec.Site // zero: not known
	// Warnings tell what could not be found out, and what is amiss.
	Warnings []string
}

// SystemInfo never fails: what vSphere does not tell is a warning.
func (e *Engine) SystemInfo(ctx context.Context) SystemInfo {
	var s SystemInfo
	for _, v := range e.pl.Containers() {
		s.Containers++
		switch {
		case isPaused(v):
			s.Paused++
		case isRunning(v):
			s.Running++
		default:
			s.Stopped++
		}
	}
	s.Images = len(e.images.List())
	s.Networks = e.pl.Networks()
	s.EventReaders = e.events.readers()
	s.DockerSocket = e.socket
	c, err := e.pl.Capacity(ctx)
	if err != nil {
		s.Warnings = append(s.Warnings, "WARNING: the capacity of the VCH is not known: "+err.Error())
	}
	s.Capacity = c
	if err == nil { // what failed would fail again
		var w []string
		s.Site, w = e.site(ctx)
		s.Warnings = append(s.Warnings, w...)
	}
	if t, ok := e.pl.(Troubled); ok {
		for _, text := range t.Troubles() {
			s.Warnings = append(s.Warnings, "WARNING: "+text)
		}
	}
	return s
}

// Troubled is a port layer that tells what somebody should see to, in words that
// are shown by `docker info`.
type Troubled interface{ Troubles() []string }

// Networks gives the networks that containers can be on.
func (e *Engine) Networks() []spec.Network { return e.pl.Networks() }

// Time gives the engine's clock.
func (e *Engine) Time() Clock { return e.clock }
