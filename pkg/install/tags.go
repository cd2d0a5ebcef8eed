package install

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"

	"github.com/vic-engine/vic/pkg/vsphere"
)

// restLogout bounds ending the session of the REST API.
const restLogout = 5 * time.Second

// tags removes the categories and tags that the VCH has made and that nothing has
// any more. What others made or use stays, with a warning.
func (r *remover) tags(ctx context.Context) error {
	t := r.s.Tags()
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), restLogout)
		defer cancel()
		if err := t.Close(late); err != nil {
			r.log.WithError(err).Debug("session of vCenter's REST API is left to its timeout")
		}
	}()
	all, err := t.Categories(ctx)
	if err != nil {
		return err
	}
	for _, label := range r.a.VCH.TagLabels {
		i := slices.IndexFunc(all, func(c vsphere.Tag) bool { return c.Name == vsphere.TagCategory(label) })
		if i < 0 {
			continue
		}
		if err := r.category(ctx, t, all[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *remover) category(ctx context.Context, t *vsphere.Tags, c vsphere.Tag) error {
	ours := func(t vsphere.Tag) bool { return strings.Contains(t.Description, vsphere.TagMark(r.a.VCH.UUID)) }
	list, err := t.Of(ctx, c.ID)
	if err != nil {
		return err
	}
	left := 0
	for _, tag := range list {
		left++
		if !ours(tag) {
			continue
		}
		used, err := r.tagUsed(ctx, t, tag)
		if err != nil {
			return err
		}
		if used {
			r.log.Warnf("Tag %s of category %s is on other VMs, leaving it there", tag.Name, c.Name)
			continue
		}
		if err := absentIsFine(t.DeleteTag(ctx, tag.ID)); err != nil {
			return err
		}
		left--
	}
	switch {
	case !ours(c):
		return nil
	case left > 0:
		r.log.Warnf("Category %s has tags of others, leaving it there", c.Name)
		return nil
	}
	return absentIsFine(t.DeleteCategory(ctx, c.ID))
}

// tagUsed tells whether a VM that exists has a tag: the VCH's are removed by now.
func (r *remover) tagUsed(ctx context.Context, t *vsphere.Tags, tag vsphere.Tag) (bool, error) {
	on, err := t.Attached(ctx, tag.ID)
	if err != nil {
		return false, absentIsFine(err)
	}
	for _, ref := range on {
		if ref.Type != "VirtualMachine" {
			return true, nil
		}
		var vm mo.VirtualMachine
		err := vsphere.Classify(property.DefaultCollector(r.s.Client()).RetrieveOne(ctx, ref, []string{"name"}, &vm))
		if err == nil {
			return true, nil
		}
		if absentIsFine(err) != nil {
			return false, err
		}
	}
	return false, nil
}
