package collector

import (
	"sync"
	"testing"

	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/history"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/types"
)

// TestHistory: collectors of past events and tasks come, change and go while there are
// new events and tasks. The race detector looks on.
func TestHistory(t *testing.T) {
	c, m := connectTo(t, simulator.VPX())
	vm := object.NewVirtualMachine(c.Client, m.Any("VirtualMachine").Reference())
	over := make(chan struct{})
	var others sync.WaitGroup
	for _, made := range []func() (*history.Collector, error){
		func() (*history.Collector, error) {
			h, err := event.NewManager(c.Client).CreateCollectorForEvents(t.Context(), types.EventFilterSpec{})
			if err != nil {
				return nil, err
			}
			return h.Collector, nil
		},
		func() (*history.Collector, error) {
			h, err := task.NewManager(c.Client).CreateCollectorForTasks(t.Context(), types.TaskFilterSpec{})
			if err != nil {
				return nil, err
			}
			return h.Collector, nil
		},
	} {
		others.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				h, err := made()
				if err == nil {
					err = h.SetPageSize(t.Context(), 17)
				}
				if err == nil {
					err = h.Destroy(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		tk, err := vm.Reconfigure(t.Context(), types.VirtualMachineConfigSpec{Annotation: "x"})
		if err == nil {
			err = tk.Wait(t.Context())
		}
		if err != nil {
			t.Error(err)
		}
	}
	close(over)
	others.Wait()
}
