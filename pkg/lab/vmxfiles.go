package lab

import (
	"os"
	"strings"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/vmx"
)

// vmxFiles keeps each VM's .vmx like its configuration. Changes mark a VM; the
// file is written at the end of the task, when somebody reads it, and by
// housekeeping.
type vmxFiles struct {
	mu    sync.Mutex // guards marked
	marks map[types.ManagedObjectReference]bool
	wmu   sync.Mutex // one writer at a time, so that the last state wins
}

func (f *vmxFiles) dirty(ref types.ManagedObjectReference) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.marks == nil {
		f.marks = map[types.ManagedObjectReference]bool{}
	}
	f.marks[ref] = true
}

func (f *vmxFiles) forget(ref types.ManagedObjectReference) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.marks, ref)
}

func (f *vmxFiles) take(ref types.ManagedObjectReference) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.marks[ref]
	delete(f.marks, ref)
	return was
}

// flush writes a VM's .vmx if it changed.
func (f *vmxFiles) flush(l *Lab, c *simulator.Context, o *simulator.VirtualMachine) types.BaseMethodFault {
	f.wmu.Lock()
	defer f.wmu.Unlock()
	if !f.take(o.Self) || c.Map.Get(o.Self) == nil {
		return nil
	}
	var m *mo.VirtualMachine
	locked(c, o, func() { m = snapshot(o) })
	if !strings.HasSuffix(m.Config.Files.VmPathName, ".vmx") || m.Runtime.Host == nil {
		return nil // still in the making
	}
	file, fault := l.file(c, m.Parent, m.Config.Files.VmPathName)
	if fault != nil {
		f.dirty(o.Self)
		return fault
	}
	if _, err := os.Stat(file); err != nil {
		return nil // CreateVM insists on making it; of a destroyed VM there is none
	}
	if err := writeFile(file, vmx.Encode(vmx.FromVM(m))); err != nil {
		f.dirty(o.Self)
		return l.fileFault(file, err)
	}
	return nil
}

// flushAll writes every changed .vmx.
func (f *vmxFiles) flushAll(l *Lab, c *simulator.Context) {
	f.mu.Lock()
	var refs []types.ManagedObjectReference
	for ref := range f.marks {
		refs = append(refs, ref)
	}
	f.mu.Unlock()
	for _, ref := range refs {
		o, ok := c.Map.Get(ref).(*simulator.VirtualMachine)
		if !ok {
			f.forget(ref)
			continue
		}
		fault := f.flush(l, c, o)
		if _, lost := fault.(*types.InaccessibleDatastore); lost {
			continue // it is written when the datastore is back
		}
		if fault != nil {
			l.log.WithField("vm", ref.Value).Warnf("writing the .vmx: %s", faultText(fault))
		}
	}
}
