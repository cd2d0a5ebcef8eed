package engine_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/sirupsen/logrus"
)

// patience bounds what must happen soon; it only ends tests that fail.
const patience = time.Minute

// hurry is a clock whose short waits are over at once and whose long ones
// (guards and timeouts) never are.
type hurry struct {
	mu    sync.Mutex
	waits []time.Duration
}

func (h *hurry) Now() time.Time { return time.Now() }

func (h *hurry) After(d time.Duration) <-chan time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waits = append(h.waits, d)
	if d > 3*time.Second {
		return nil
	}
	c := make(chan time.Time, 1)
	c <- time.Now()
	return c
}

type harness struct {
	*testing.T
	f      *enginetest.Fake
	images *enginetest.Images
	e      *engine.Engine
	clock  *hurry
	ctx    context.Context
	stop   func()
}

// start runs an engine on f; a nil f is a new port layer.
func start(t *testing.T, f *enginetest.Fake, change ...func(*engine.Config)) *harness {
	t.Helper()
	if f == nil {
		f = enginetest.New()
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	h := &harness{T: t, f: f, images: enginetest.NewImages(), clock: &hurry{}}
	cfg := engine.Config{PortLayer: f, Networks: f, Controls: f, Images: h.images, Log: logrus.NewEntry(log), Clock: h.clock}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if h.e, err = engine.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	h.ctx = ctx
	done := make(chan error, 1)
	go func() { done <- h.e.Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run did not end")
		}
	})
	t.Cleanup(h.stop)
	<-h.e.Ready()
	return h
}

func (h *harness) create(name, body string) string {
	h.Helper()
	id, _, err := h.tryCreate(name, body)
	if err != nil {
		h.Fatalf("create %s: %v", body, err)
	}
	return id
}

func (h *harness) tryCreate(name, body string) (string, []string, error) {
	h.Helper()
	r, err := engine.ParseRequest([]byte(body))
	if err != nil {
		h.Fatal(err)
	}
	return h.e.Create(h.ctx, engine.CreateOptions{Name: name, Request: r})
}

// run creates and starts a container of busybox.
func (h *harness) run(name, rest string) string {
	h.Helper()
	id := h.create(name, `{"Image":"busybox",`+rest+`}`)
	if err := h.e.Start(h.ctx, id); err != nil {
		h.Fatalf("start %s: %v", name, err)
	}
	return id
}

func (h *harness) inspect(ref string) engine.Info {
	h.Helper()
	i, err := h.e.Inspect(ref)
	if err != nil {
		h.Fatal(err)
	}
	return i
}

// until waits for a condition.
func (h *harness) until(what string, ok func() bool) {
	h.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("did not happen: %s", what)
		}
	}
}

func (h *harness) status(ref string) string {
	i, err := h.e.Inspect(ref)
	if err != nil {
		return "gone"
	}
	return i.State.Status
}

func (h *harness) wait(ref string, c engine.WaitCondition) <-chan engine.WaitResult {
	h.Helper()
	w, err := h.e.Wait(h.ctx, ref, c)
	if err != nil {
		h.Fatal(err)
	}
	return w
}

func (h *harness) answer(w <-chan engine.WaitResult) spec.ExitStatus {
	h.Helper()
	select {
	case r := <-w:
		if r.Err != nil {
			h.Fatalf("wait: %v", r.Err)
		}
		return r.Exit
	case <-time.After(patience):
		h.Fatal("wait was not answered")
		return spec.ExitStatus{}
	}
}

// collect gathers events from now on; the returned function gives the actions
// seen so far, "die(7)" with the exit code.
func (h *harness) collect(f engine.Filters) func() []string {
	h.Helper()
	var mu sync.Mutex
	var got []string
	ready := make(chan struct{})
	go func() {
		_ = h.e.Events(h.ctx, engine.EventOptions{Filters: f}, func() { close(ready) }, func(ev engine.Event) error {
			mu.Lock()
			defer mu.Unlock()
			s := ev.Action
			if c, ok := ev.Attributes["exitCode"]; ok {
				s = fmt.Sprintf("%s(%s)", s, c)
			}
			got = append(got, s)
			return nil
		})
	}()
	<-ready
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got...)
	}
}
