package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/types"
)

// TagCategory is the name of the category whose tags are the values of a label.
func TagCategory(label string) string { return "vic.label." + label }

// TagMark is in the description of categories and tags that a VCH has made, and of
// no others.
func TagMark(vch string) string { return "made by the Virtual Container Host " + vch }

// Tags are the tags of a vCenter, over its REST API, which has a session of its own.
// One goroutine may use it at a time. Errors are classes; a single ESXi host has no
// tags (ErrNotImplemented).
type Tags struct {
	s *Session
	c *rest.Client // nil: not logged in
}

// Tag is a tag or a category.
type Tag struct{ ID, Name, Description string }

// Tags gives access to tags. It logs in when it is first used.
func (s *Session) Tags() *Tags { return &Tags{s: s} }

// Close ends the REST session.
func (t *Tags) Close(ctx context.Context) error {
	if t.c == nil {
		return nil
	}
	err := t.c.Logout(ctx)
	t.c = nil
	return restError(err)
}

func (t *Tags) login(ctx context.Context) error {
	if !t.s.IsVC() {
		return fmt.Errorf("tags: a single ESXi host has none: %w", errdefs.ErrNotImplemented)
	}
	if t.c != nil {
		return nil
	}
	c := rest.NewClient(t.s.vim)
	if err := c.Login(ctx, url.UserPassword(t.s.user, t.s.password)); err != nil {
		return fmt.Errorf("log in to vCenter's REST API: %w", restError(err))
	}
	t.c = c
	return nil
}

// do makes a call, once more after a login when the session is gone.
func (t *Tags) do(ctx context.Context, what string, call func(*tags.Manager) error) error {
	for again := t.c != nil; ; again = false {
		if err := t.login(ctx); err != nil {
			return err
		}
		err := restError(call(tags.NewManager(t.c)))
		if again && errdefs.IsUnauthorized(err) {
			t.c = nil
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	}
}

func restError(err error) error {
	for code, class := range map[int]error{
		http.StatusUnauthorized: errdefs.ErrUnauthenticated, http.StatusForbidden: errdefs.ErrPermissionDenied,
		http.StatusNotFound: errdefs.ErrNotFound, http.StatusServiceUnavailable: errdefs.ErrUnavailable,
	} {
		if err != nil && rest.IsStatusError(err, code) {
			return errors.Join(err, class)
		}
	}
	return Classify(err)
}

// Categories lists all categories.
func (t *Tags) Categories(ctx context.Context) (out []Tag, err error) {
	err = t.do(ctx, "list categories of tags", func(m *tags.Manager) error {
		list, err := m.GetCategories(ctx)
		for _, c := range list {
			out = append(out, Tag{c.ID, c.Name, c.Description})
		}
		return err
	})
	return out, err
}

// Of lists the tags of a category.
func (t *Tags) Of(ctx context.Context, category string) (out []Tag, err error) {
	err = t.do(ctx, "list tags", func(m *tags.Manager) error {
		list, err := m.GetTagsForCategory(ctx, category)
		for _, c := range list {
			out = append(out, Tag{c.ID, c.Name, c.Description})
		}
		return err
	})
	return out, err
}

// CreateCategory makes a category of which a VM has one tag at most.
func (t *Tags) CreateCategory(ctx context.Context, name, description string) (id string, err error) {
	err = t.do(ctx, "make category "+name, func(m *tags.Manager) error {
		id, err = m.CreateCategory(ctx, &tags.Category{Name: name, Description: description, Cardinality: "SINGLE", AssociableTypes: []string{"VirtualMachine"}})
		return err
	})
	return id, err
}

// CreateTag makes a tag.
func (t *Tags) CreateTag(ctx context.Context, category, name, description string) (id string, err error) {
	err = t.do(ctx, "make tag "+name, func(m *tags.Manager) error {
		id, err = m.CreateTag(ctx, &tags.Tag{Name: name, Description: description, CategoryID: category})
		return err
	})
	return id, err
}

// Attach puts a tag on a VM; one that it has is fine.
func (t *Tags) Attach(ctx context.Context, tag, vm string) error {
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: vm}
	return t.do(ctx, "tag VM "+vm, func(m *tags.Manager) error { return m.AttachTag(ctx, tag, ref) })
}

// Attached lists what has a tag.
func (t *Tags) Attached(ctx context.Context, tag string) (out []types.ManagedObjectReference, err error) {
	err = t.do(ctx, "list what has a tag", func(m *tags.Manager) error {
		list, err := m.ListAttachedObjects(ctx, tag)
		for _, ref := range list {
			out = append(out, ref.Reference())
		}
		return err
	})
	return out, err
}

// DeleteTag removes a tag, also from what has it.
func (t *Tags) DeleteTag(ctx context.Context, id string) error {
	return t.do(ctx, "remove tag", func(m *tags.Manager) error { return m.DeleteTag(ctx, &tags.Tag{ID: id}) })
}

// DeleteCategory removes a category with all its tags.
func (t *Tags) DeleteCategory(ctx context.Context, id string) error {
	return t.do(ctx, "remove category of tags", func(m *tags.Manager) error { return m.DeleteCategory(ctx, &tags.Category{ID: id}) })
}
