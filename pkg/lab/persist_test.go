package lab

import (
	"sync"
	"testing"

	"github.com/vmware/govmomi/vim25/types"
)

// TestSaveWhileTasksBegin is for the race detector: a task that begins changes
// the task manager, which a save of everything comes by.
func TestSaveWhileTasksBegin(t *testing.T) {
	r := newRig(t, Config{Mode: ModeESXi})
	entity := r.l.context(nil).Map.Any("Folder")
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		c := r.l.context(nil)
		for range 200 {
			r.l.failed(c, entity, "work", &types.NotSupported{})
		}
		close(done)
	})
	for saved := false; !saved; {
		r.must(r.l.saver.saveAll())
		select {
		case <-done:
			saved = true
		default:
		}
	}
	wg.Wait()
}
