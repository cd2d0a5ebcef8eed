package tagging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

const (
	// retry is when what failed is tried again.
	retry = 30 * time.Second
	// afresh is when everything is looked at again: somebody may have taken a tag
	// away.
	afresh = 10 * time.Minute
	// emptyValue is the tag of a label without a value: a tag must have a name.
	emptyValue = "(empty)"
)

// Store is where tags are. Implemented by vsphere.Tags.
type Store interface {
	Categories(ctx context.Context) ([]vsphere.Tag, error)
	Of(ctx context.Context, category string) ([]vsphere.Tag, error)
	CreateCategory(ctx context.Context, name, description string) (id string, err error)
	CreateTag(ctx context.Context, category, name, description string) (id string, err error)
	Attach(ctx context.Context, tag, vm string) error
}

// Config of a Tagger; all of it must be set.
type Config struct {
	VCH    string // UUID
	Labels []string
	Store  Store
	// Containers are all that there are; Subscribe gives their events, its channel
	// is closed when the reader was too slow.
	Containers func() []*spec.View
	Subscribe  func(context.Context) <-chan spec.Event
	Log        *logrus.Entry
}

// Assignment is one tag on one VM.
type Assignment struct{ VM, Label, Value string }

// Wanted are the tags that containers' VMs shall have, sorted.
func Wanted(views []*spec.View, labels []string) []Assignment {
	var out []Assignment
	for _, v := range views {
		for _, l := range labels {
			if value, ok := v.Container.Labels[l]; ok && v.Status.VM != "" && v.Status.Phase != spec.PhaseRemoving {
				out = append(out, Assignment{v.Status.VM, l, cmp.Or(value, emptyValue)})
			}
		}
	}
	slices.SortFunc(out, func(a, b Assignment) int {
		return cmp.Or(cmp.Compare(a.VM, b.VM), cmp.Compare(a.Label, b.Label))
	})
	return slices.Compact(out)
}

// Tagger tags VMs. Labels of a container never change, and tags go with their VM:
// there is nothing to take off.
type Tagger struct {
	cfg Config
	// What follows is used by Run alone: ids by name, and what is done.
	categories map[string]string
	tags       map[[2]string]string // by category id and name
	done       map[Assignment]bool
}

// New makes a Tagger.
func New(cfg Config) *Tagger {
	t := &Tagger{cfg: cfg}
	t.forget()
	return t
}

func (t *Tagger) forget() {
	t.categories, t.tags, t.done = map[string]string{}, map[[2]string]string{}, map[Assignment]bool{}
}

// Run tags until ctx is done.
func (t *Tagger) Run(ctx context.Context) {
	events := t.cfg.Subscribe(ctx)
	for ctx.Err() == nil {
		wait := afresh
		if err := t.sync(ctx); err != nil && ctx.Err() == nil {
			t.cfg.Log.WithError(err).Warnf("VMs are not tagged as their labels are, trying again in %s", retry)
			t.forget()
			wait = retry
		}
		events = t.await(ctx, events, wait)
	}
}

// await waits for containers to change, or for time to pass: after a failure only
// for that.
func (t *Tagger) await(ctx context.Context, events <-chan spec.Event, wait time.Duration) <-chan spec.Event {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return events
		case <-timer.C:
			t.forget()
			return events
		case e, ok := <-events:
			if !ok {
				return t.cfg.Subscribe(ctx)
			}
			if e.Kind == spec.EventCreated && wait == afresh {
				return events
			}
		}
	}
}

// sync puts the tags on that are not yet. One VM's failure does not keep the others
// from theirs.
func (t *Tagger) sync(ctx context.Context) error {
	var errs []error
	now := map[Assignment]bool{}
	for _, a := range Wanted(t.cfg.Containers(), t.cfg.Labels) {
		if t.done[a] {
			now[a] = true
			continue
		}
		if err := t.put(ctx, a); err != nil {
			errs = append(errs, err)
			continue
		}
		now[a] = true
	}
	t.done = now
	return errors.Join(errs...)
}

func (t *Tagger) put(ctx context.Context, a Assignment) error {
	category, err := t.category(ctx, vsphere.TagCategory(a.Label))
	if err != nil {
		return err
	}
	tag, err := t.tag(ctx, category, a.Value)
	if err != nil {
		return fmt.Errorf("label %s: %w", a.Label, err)
	}
	return t.cfg.Store.Attach(ctx, tag, a.VM)
}

// category gives the id of a category, which is made if it is not there.
func (t *Tagger) category(ctx context.Context, name string) (string, error) {
	if id := t.categories[name]; id != "" {
		return id, nil
	}
	all, err := t.cfg.Store.Categories(ctx)
	if err != nil {
		return "", err
	}
	for _, c := range all {
		t.categories[c.Name] = c.ID
	}
	if id := t.categories[name]; id != "" {
		return id, nil
	}
	id, err := t.cfg.Store.CreateCategory(ctx, name, vsphere.TagMark(t.cfg.VCH))
	if err == nil {
		t.categories[name] = id
	}
	return id, err
}

func (t *Tagger) tag(ctx context.Context, category, name string) (string, error) {
	key := [2]string{category, name}
	if id := t.tags[key]; id != "" {
		return id, nil
	}
	all, err := t.cfg.Store.Of(ctx, category)
	if err != nil {
		return "", err
	}
	for _, tag := range all {
		t.tags[[2]string{category, tag.Name}] = tag.ID
	}
	if id := t.tags[key]; id != "" {
		return id, nil
	}
	id, err := t.cfg.Store.CreateTag(ctx, category, name, vsphere.TagMark(t.cfg.VCH))
	if err == nil {
		t.tags[key] = id
	}
	return id, err
}
