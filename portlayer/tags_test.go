package portlayer

import (
	"testing"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// VMs have tags as their containers have labels.
func TestTags(t *testing.T) {
	s := newSite(t, lab.ModeVCenter)
	s.cfg.VCH.TagLabels = []string{"tier"}
	p, stop := s.boot()
	defer func() { stop() }()
	img, _, err := p.Images().Pull(t.Context(), s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c := s.container(1, img, "/bin/serve", "ready")
	c.Labels = map[string]string{"tier": "front", "other": "x"}
	v, err := p.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	tags := p.live.Load().session.Tags()
	eventually(t, "the VM is tagged", func() bool {
		all, err := tags.Categories(t.Context())
		if err != nil || len(all) != 1 || all[0].Name != "vic.label.tier" || all[0].Description != vsphere.TagMark(s.cfg.VCH.UUID) {
			return false
		}
		list, err := tags.Of(t.Context(), all[0].ID)
		if err != nil || len(list) != 1 || list[0].Name != "front" {
			return false
		}
		on, err := tags.Attached(t.Context(), list[0].ID)
		return err == nil && len(on) == 1 && on[0].Value == v.Status.VM
	})
	if err := tags.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
