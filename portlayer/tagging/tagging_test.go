package tagging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

var _ Store = (*vsphere.Tags)(nil)

// store has tags as names.
type store struct {
	mu    sync.Mutex // guards what follows
	lines []string   // what was done
	cats  []vsphere.Tag
	tags  map[string][]vsphere.Tag
	fail  error
}

func (s *store) do(format string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
	return nil
}

func (s *store) Categories(context.Context) ([]vsphere.Tag, error) {
	err := s.do("categories")
	return s.cats, err
}

func (s *store) Of(_ context.Context, category string) ([]vsphere.Tag, error) {
	err := s.do("tags of %s", category)
	return s.tags[category], err
}

func (s *store) CreateCategory(_ context.Context, name, description string) (string, error) {
	err := s.do("category %s: %s", name, description)
	return "id-" + name, err
}

func (s *store) CreateTag(_ context.Context, category, name, _ string) (string, error) {
	err := s.do("tag %s in %s", name, category)
	return category + "/" + name, err
}

func (s *store) Attach(_ context.Context, tag, vm string) error { return s.do("%s on %s", tag, vm) }

func (s *store) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.lines, "\n")
	s.lines = nil
	return out
}

func view(vm string, labels ...string) *spec.View {
	v := &spec.View{Status: spec.Status{VM: vm, Phase: spec.PhaseCreated}}
	v.Container.Labels = map[string]string{}
	for _, l := range labels {
		k, value, _ := strings.Cut(l, "=")
		v.Container.Labels[k] = value
	}
	return v
}

func TestWanted(t *testing.T) {
	going := view("vm-4", "tier=front")
	going.Status.Phase = spec.PhaseRemoving
	got := Wanted([]*spec.View{view("vm-2", "tier=front", "x=y", "app="), view("vm-1", "tier=back"), view("vm-3"), view("", "tier=front"), going}, []string{"tier", "app"})
	want := []Assignment{{"vm-1", "tier", "back"}, {"vm-2", "app", "(empty)"}, {"vm-2", "tier", "front"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestTagger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{cats: []vsphere.Tag{{ID: "c1", Name: "vic.label.app"}}, tags: map[string][]vsphere.Tag{"c1": {{ID: "t1", Name: "shop"}}}}
		log := logrus.New()
		log.SetOutput(io.Discard)
		var mu sync.Mutex
		views := []*spec.View{view("vm-1", "tier=front", "app=shop")}
		events := make(chan spec.Event, 8)
		cfg := Config{VCH: "me", Labels: []string{"tier", "app"}, Store: s, Log: logrus.NewEntry(log),
			Containers: func() []*spec.View { mu.Lock(); defer mu.Unlock(); return slices.Clone(views) },
			Subscribe:  func(context.Context) <-chan spec.Event { return events }}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); New(cfg).Run(ctx) }()
		says := func(when, want string) {
			t.Helper()
			synctest.Wait()
			if d := cmp.Diff(want, s.take()); d != "" {
				t.Errorf("%s: %s", when, d)
			}
		}
		says("at first", "categories\ntags of c1\nt1 on vm-1\ncategories\ncategory vic.label.tier: made by the Virtual Container Host me\ntags of id-vic.label.tier\n"+
			"tag front in id-vic.label.tier\nid-vic.label.tier/front on vm-1")
		add := func(v *spec.View) {
			mu.Lock()
			views = append(views, v)
			mu.Unlock()
			events <- spec.Event{Kind: spec.EventCreated}
		}
		events <- spec.Event{Kind: spec.EventStarted}
		says("a start", "")
		add(view("vm-2", "tier=front"))
		says("another", "id-vic.label.tier/front on vm-2")
		s.mu.Lock()
		s.fail = errors.New("no")
		s.mu.Unlock()
		add(view("vm-3", "app=shop"))
		says("a failure", "")
		add(view("vm-4", "app=shop"))
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		says("after it, not at once", "")
		time.Sleep(retry) // of the bubble's clock
		synctest.Wait()
		if got := s.take(); !strings.Contains(got, "t1 on vm-3\nt1 on vm-4") {
			t.Errorf("after a while: %s", got)
		}
		time.Sleep(afresh)
		synctest.Wait()
		if got := s.take(); !strings.Contains(got, "t1 on vm-1") || !strings.Contains(got, "on vm-2") {
			t.Errorf("afresh: %s", got)
		}
		cancel()
		<-done
	})
}
