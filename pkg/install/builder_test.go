package install

import (
	"context"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"
)

// What create is told of the builder is in the VCH, and inspect shows it.
func TestBuilderSize(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t, true)
	o := f.create()
	o.BuilderMB, o.BuilderCPUs = 4096, 4
	must(t, Create(ctx, o, f.env()))
	a, err := Find(ctx, f.s, "VCH001")
	must(t, err)
	if a.VCH.BuilderMemoryMB != 4096 || a.VCH.BuilderCPUs != 4 {
		t.Errorf("VCH %d MB, %d CPUs", a.VCH.BuilderMemoryMB, a.VCH.BuilderCPUs)
	}
	if l := strings.Join(a.summary().Lines(), "\n"); !strings.Contains(l, "\nBuilder: 4096 MB, 4 CPUs\n") {
		t.Errorf("inspect:\n%s", l)
	}
	if s := (Appliance{VCH: spec.VCH{Name: "x"}}).summary(); s.Builder != nil || strings.Contains(strings.Join(s.Lines(), "\n"), "Builder") {
		t.Errorf("nothing was chosen, and inspect shows %v", s.Builder)
	}
}
