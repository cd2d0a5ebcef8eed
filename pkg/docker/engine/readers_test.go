package engine_test

import (
	"context"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
)

// TestEventReaders: docker info counts who reads events.
func TestEventReaders(t *testing.T) {
	h := start(t, nil)
	if n := h.e.SystemInfo(h.ctx).EventReaders; n != 0 {
		t.Errorf("%d readers before there is one", n)
	}
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	reads, over := make(chan struct{}), make(chan error, 1)
	go func() {
		over <- h.e.Events(ctx, engine.EventOptions{}, func() { close(reads) }, func(engine.Event) error { return nil })
	}()
	<-reads
	if n := h.e.SystemInfo(h.ctx).EventReaders; n != 1 {
		t.Errorf("%d readers while one reads", n)
	}
	cancel()
	if err := <-over; err != nil {
		t.Error(err)
	}
	if n := h.e.SystemInfo(h.ctx).EventReaders; n != 0 {
		t.Errorf("%d readers after it went", n)
	}
}
