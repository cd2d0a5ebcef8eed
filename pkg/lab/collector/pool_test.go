package collector

import (
	"fmt"
	"sync"
	"testing"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// Every pool has a summary of its own, and for the race detector, pools are made
// in two simulators while others read them.
func TestPoolSummaries(t *testing.T) {
	var wg sync.WaitGroup
	for n := range 2 {
		c, _ := connect(t)
		root, err := find.NewFinder(c.Client).DefaultResourcePool(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		name := func(ref types.ManagedObjectReference) string {
			var p mo.ResourcePool
			if err := property.DefaultCollector(c.Client).RetrieveOne(t.Context(), ref, []string{"name", "summary"}, &p); err != nil {
				t.Error(err)
				return ""
			}
			if s := p.Summary.GetResourcePoolSummary().Name; s != p.Name {
				t.Errorf("summary of %s is of %s", p.Name, s)
			}
			return p.Name
		}
		made := make(chan types.ManagedObjectReference, 20)
		wg.Go(func() {
			defer close(made)
			for i := range cap(made) {
				p, err := root.Create(t.Context(), fmt.Sprintf("pool%d-%d", n, i), types.DefaultResourceConfigSpec())
				if err != nil {
					t.Error(err)
					return
				}
				made <- p.Reference()
			}
		})
		wg.Go(func() {
			i := 0
			for ref := range made {
				if got, want := name(ref), fmt.Sprintf("pool%d-%d", n, i); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
				if got := name(root.Reference()); got != "Resources" {
					t.Errorf("the root pool is %s", got)
				}
				i++
			}
		})
	}
	wg.Wait()
}
