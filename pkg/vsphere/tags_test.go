package vsphere

import (
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab"
)

// TestTags makes tags and takes them away, over a lost session, with the right
// password only.
func TestTags(t *testing.T) {
	l, _, s, _ := ownLab(t, lab.ModeVCenter)
	ctx := t.Context()
	tags := s.Tags()
	category, err := tags.CreateCategory(ctx, TagCategory("tier"), TagMark("me"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tags.CreateCategory(ctx, TagCategory("tier"), ""); err == nil {
		t.Error("two categories of a name")
	}
	tag, err := tags.CreateTag(ctx, category, "front", TagMark("me"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := tags.Attach(ctx, tag, "vm-1"); err != nil {
			t.Error(err)
		}
	}
	tags.c.SessionID("lost")
	on, err := tags.Attached(ctx, tag)
	if err != nil || len(on) != 1 || on[0].Value != "vm-1" || on[0].Type != "VirtualMachine" {
		t.Errorf("on %v, %v", on, err)
	}
	list, err := tags.Of(ctx, category)
	if err != nil || len(list) != 1 || list[0] != (Tag{tag, "front", TagMark("me")}) {
		t.Errorf("tags %v, %v", list, err)
	}
	if err := tags.DeleteTag(ctx, tag); err != nil {
		t.Error(err)
	}
	if err := tags.Attach(ctx, tag, "vm-1"); !errdefs.IsNotFound(err) {
		t.Errorf("a tag that is gone: %v", err)
	}
	if err := tags.DeleteCategory(ctx, category); err != nil {
		t.Error(err)
	}
	if all, err := tags.Categories(ctx); err != nil || len(all) != 0 {
		t.Errorf("categories %v, %v", all, err)
	}
	if err := tags.Close(ctx); err != nil {
		t.Error(err)
	}

	wrong := &Session{vim: s.vim, user: s.user, password: "wrong"}
	if _, err := wrong.Tags().Categories(ctx); !errdefs.IsUnauthorized(err) {
		t.Errorf("with a wrong password: %v", err)
	}
	// Nor with a token, which the simulator would take for good, or with nothing.
	for _, auth := range []string{"SIGN token", ""} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.URL().Host+"/rest/com/vmware/cis/session", strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		res, err := s.vim.Client.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%q: %s", auth, res.Status)
		}
	}
}

func TestNoTagsOnESXi(t *testing.T) {
	_, _, s, _ := ownLab(t, lab.ModeESXi)
	if _, err := s.Tags().Categories(t.Context()); !errdefs.IsNotImplemented(err) {
		t.Errorf("%v", err)
	}
}
