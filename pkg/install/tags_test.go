package install

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/vsphere"
)

// makeTags makes a category of the VCH's own, one of somebody else's and one that
// somebody else has put a tag into. The tag used is on a VM that is there.
func makeTags(ctx context.Context, t *testing.T, tags *vsphere.Tags, vch, vm string) {
	t.Helper()
	for _, c := range []struct {
		label string
		ours  bool
		tags  map[string]string // by name, what has it; "-" before the name: not ours
	}{
		{"tier", true, map[string]string{"front": "vm-gone", "back": ""}},
		{"app", false, map[string]string{"shop": "", "used": vm}},
		{"zone", true, map[string]string{"mine": "", "-another": ""}},
	} {
		mark := func(ours bool) string {
			if ours {
				return vsphere.TagMark(vch)
			}
			return "somebody else's"
		}
		category, err := tags.CreateCategory(ctx, vsphere.TagCategory(c.label), mark(c.ours))
		must(t, err)
		for name, on := range c.tags {
			name, foreign := strings.CutPrefix(name, "-")
			tag, err := tags.CreateTag(ctx, category, name, mark(!foreign))
			must(t, err)
			if on != "" {
				must(t, tags.Attach(ctx, tag, on))
			}
		}
	}
}

// tagsOf are all categories with their tags, in lines.
func tagsOf(ctx context.Context, t *testing.T, tags *vsphere.Tags) string {
	t.Helper()
	all, err := tags.Categories(ctx)
	must(t, err)
	var lines []string
	for _, c := range all {
		list, err := tags.Of(ctx, c.ID)
		must(t, err)
		var names []string
		for _, tag := range list {
			names = append(names, tag.Name)
		}
		slices.Sort(names)
		lines = append(lines, c.Name+": "+strings.Join(names, " "))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
