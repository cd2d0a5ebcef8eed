package tetherproto

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// fakeControls is a guest's Controls.
type fakeControls struct {
	cmu    sync.Mutex
	paused bool
	limits spec.Limits
	size   spec.Size

	corrected []string
	table     spec.ProcessTable
	deaf      bool // Stats never answers
}

func (f *fakeControls) Pause(context.Context) error  { return f.pause(true) }
func (f *fakeControls) Resume(context.Context) error { return f.pause(false) }

func (f *fakeControls) pause(on bool) error {
	f.cmu.Lock()
	defer f.cmu.Unlock()
	f.paused = on
	return nil
}

func (f *fakeControls) Limit(_ context.Context, l spec.Limits) error {
	f.cmu.Lock()
	defer f.cmu.Unlock()
	if l.Pids == 1 {
		return fmt.Errorf("one is too few: %w", errdefs.ErrInvalidArgument)
	}
	f.limits = l
	return nil
}

func (f *fakeControls) Enlarge(_ context.Context, s spec.Size) error {
	f.cmu.Lock()
	defer f.cmu.Unlock()
	if s.CPUs == 77 {
		return fmt.Errorf("too many: %w", errdefs.ErrFailedPrecondition)
	}
	f.size = s
	return nil
}

func (f *fakeControls) Time(context.Context) (time.Time, error) {
	return time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC), nil
}

func (f *fakeControls) Correct(_ context.Context, by time.Duration, atOnce bool) error {
	f.corrected = append(f.corrected, fmt.Sprint(by, " ", atOnce))
	if by > time.Hour {
		return fmt.Errorf("its own: %w", errdefs.ErrFailedPrecondition)
	}
	return nil
}

func (f *fakeControls) Stats(ctx context.Context) (spec.Stats, error) {
	if f.deaf {
		<-ctx.Done()
		return spec.Stats{}, ctx.Err()
	}
	return spec.Stats{CPU: spec.CPUStats{Total: 7}, Networks: map[string]spec.LinkStats{"eth0": {RxBytes: 9}}}, nil
}

func (f *fakeControls) Processes(context.Context) (spec.ProcessTable, error) {
	if f.table.Processes == nil {
		return spec.ProcessTable{}, fmt.Errorf("nothing runs: %w", errdefs.ErrConflict)
	}
	return f.table, nil
}

// TestControls: what the engine asks for is done, answers longer than a request may
// be arrive whole, and errors keep their class.
func TestControls(t *testing.T) {
	l := newLine(t, fault{})
	f := &fake{ended: make(chan struct{})}
	c, _ := pair(t, l, f, nil)
	ctx := t.Context()
	if err := c.Pause(ctx); err != nil || !f.paused {
		t.Errorf("pause: %v, %v", f.paused, err)
	}
	if err := c.Resume(ctx); err != nil || f.paused {
		t.Errorf("resume: %v, %v", f.paused, err)
	}
	want := spec.Limits{Memory: 1 << 40, CPUQuota: 5, Pids: 7}
	if err := c.Limit(ctx, want); err != nil || f.limits != want {
		t.Errorf("limits %+v, %v", f.limits, err)
	}
	if err := c.Limit(ctx, spec.Limits{Pids: 1}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("limit of one: %v", err)
	}
	if at, err := c.Time(ctx); err != nil || !at.Equal(time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC)) {
		t.Errorf("time: %s %v", at, err)
	}
	if err := c.Correct(ctx, -440*time.Millisecond, true); err != nil {
		t.Error(err)
	}
	if err := c.Correct(ctx, time.Hour+1, false); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a clock that is not ours: %v", err)
	}
	if want := []string{"-440ms true", "1h0m0.000000001s false"}; !reflect.DeepEqual(f.corrected, want) {
		t.Errorf("corrected by %q, want %q", f.corrected, want)
	}
	if err := c.Enlarge(ctx, spec.Size{CPUs: 2, MemoryMB: 512}); err != nil || f.size != (spec.Size{CPUs: 2, MemoryMB: 512}) {
		t.Errorf("size %+v, %v", f.size, err)
	}
	if err := c.Enlarge(ctx, spec.Size{}); err != nil || f.size != (spec.Size{}) {
		t.Errorf("size %+v, %v", f.size, err)
	}
	if err := c.Enlarge(ctx, spec.Size{CPUs: 77}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("too many: %v", err)
	}
	if err := c.Enlarge(ctx, spec.Size{MemoryMB: -1}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a negative size: %v", err)
	}
	if s, err := c.Stats(ctx); err != nil || s.CPU.Total != 7 || s.Networks["eth0"].RxBytes != 9 {
		t.Errorf("stats %+v, %v", s, err)
	}
	if _, err := c.Processes(ctx); !errdefs.IsConflict(err) {
		t.Errorf("no processes: %v", err)
	}
	for n := range 3000 { // 1.2 MB of JSON, and SSH's requests have at most 256 kB
		f.table.Processes = append(f.table.Processes, spec.ProcessInfo{PID: n, Args: []string{strings.Repeat("a", 99)}})
	}
	if got, err := c.Processes(ctx); err != nil || !reflect.DeepEqual(got.Processes, f.table.Processes) {
		t.Errorf("%d processes, %v", len(got.Processes), err)
	}
	f.deaf = true
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := c.Stats(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a guest that does not answer: %v", err)
	}
}

// FuzzAnswer: whatever a guest answers is read as figures or refused.
func FuzzAnswer(f *testing.F) {
	for _, v := range []any{spec.Stats{Memory: spec.MemoryStats{Details: map[string]uint64{"anon": 1}}}, spec.ProcessTable{Processes: []spec.ProcessInfo{{PID: 1}}}} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"CPU":{"Total":-1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s spec.Stats
		var p spec.ProcessTable
		for _, to := range []any{&s, &p} {
			if err := decodeAnswer("stats", b, to); err != nil && !errdefs.IsUnavailable(err) {
				t.Errorf("%v has no class of ours", err)
			}
		}
	})
}
