package lab

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// saver keeps the inventory in files: one for each managed object, in the form
// that the simulator's Model.Load reads. What is saved is what a client would
// read with the property collector.
type saver struct {
	l    *Lab
	kick chan struct{}

	one sync.Mutex // one save at a time

	mu    sync.Mutex // guards all below
	dirty map[types.ManagedObjectReference]bool
	gone  map[types.ManagedObjectReference]bool
	all   bool // something without a notice of its own may have changed
}

func newSaver(l *Lab) *saver {
	return &saver{l: l, kick: make(chan struct{}, 1), dirty: map[types.ManagedObjectReference]bool{}, gone: map[types.ManagedObjectReference]bool{}, all: true}
}

func (s *saver) dir() string { return filepath.Join(s.l.cfg.StateDir, "inventory") }

// kept tells whether objects of a kind are part of the inventory. The others
// live with a session or a task, or are made anew.
func kept(ref types.ManagedObjectReference) bool {
	switch ref.Type {
	case "Task", "PropertyFilter", "PropertyCollector", "ContainerView", "ListView", "InventoryView", "EventHistoryCollector",
		"TaskHistoryCollector", "TaskManager", "ViewManager", "HttpNfcLease", "EventManager", "Alarm", "AlarmManager", "LabWatcher", "SessionManager",
		// Made by the simulator for esxcli; they have no properties at all.
		"ManagedMethodExecuter", "DynamicTypeManager":
		return false
	}
	return true
}

// changed notes an object to save. It does not block.
func (s *saver) changed(ref types.ManagedObjectReference) {
	if !kept(ref) {
		return
	}
	s.mu.Lock()
	s.dirty[ref] = true
	delete(s.gone, ref)
	s.all = s.all || ref.Type != "VirtualMachine"
	s.mu.Unlock()
	s.wake()
}

func (s *saver) removed(ref types.ManagedObjectReference) {
	if !kept(ref) {
		return
	}
	s.mu.Lock()
	s.gone[ref] = true
	delete(s.dirty, ref)
	s.all = s.all || ref.Type != "VirtualMachine"
	s.mu.Unlock()
	s.wake()
}

func (s *saver) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// run saves a moment after changes, until ctx ends.
func (s *saver) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		}
		t := time.NewTimer(s.l.cfg.SaveDelay)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil // Run saves at its end
		case <-t.C:
		}
		if err := s.save(); err != nil {
			s.l.log.WithError(err).Error("saving the inventory")
			s.wake()
		}
	}
}

// saveAll is save for the end: some changes come without any notice.
func (s *saver) saveAll() error {
	s.mu.Lock()
	s.all = true
	s.mu.Unlock()
	return s.save()
}

// save writes what changed, all of it or nothing. Not every list that names an
// object goes with it, which load mends.
func (s *saver) save() error {
	s.one.Lock()
	defer s.one.Unlock()
	s.mu.Lock()
	dirty, gone, all := s.dirty, s.gone, s.all
	s.dirty, s.gone, s.all = map[types.ManagedObjectReference]bool{}, map[types.ManagedObjectReference]bool{}, false
	s.mu.Unlock()
	err := s.write(dirty, gone, all)
	if err != nil {
		s.mu.Lock()
		for ref := range dirty {
			s.dirty[ref] = true
		}
		for ref := range gone {
			s.gone[ref] = true
		}
		s.all = s.all || all
		s.mu.Unlock()
	}
	return err
}

func (s *saver) write(dirty, gone map[types.ManagedObjectReference]bool, all bool) error {
	c := s.l.context(nil)
	if all {
		// Lists of folders and pools are changed without notice. Those of VMs
		// need no save: load makes them of what the VMs say.
		for _, obj := range c.Map.AllReference("") {
			if ref := selfOf(obj); kept(ref) && ref.Type != "VirtualMachine" {
				dirty[ref] = true
			}
		}
	}
	if len(dirty)+len(gone) == 0 {
		return nil
	}
	if err := s.recover(); err != nil {
		return err
	}
	if err := os.Mkdir(s.next(), 0o700); err != nil {
		return err
	}
	client, err := vim25.NewClient(c, s.l.svc)
	if err != nil {
		return err
	}
	pc := property.DefaultCollector(client)
	for ref := range dirty {
		if c.Map.Get(ref) == nil {
			continue
		}
		if err := s.writeObject(c, pc, ref); err != nil {
			return fmt.Errorf("%s: %w", ref, err)
		}
	}
	for ref := range gone {
		if err := os.WriteFile(s.file(ref)+goneMark, nil, 0o600); err != nil {
			return err
		}
	}
	return s.commit()
}

// selfOf is an object's reference, without its lock: to ask some kinds for it
// copies all their properties, which may be changing.
func selfOf(obj mo.Reference) types.ManagedObjectReference {
	if self := reflect.ValueOf(obj).Elem().FieldByName("Self"); self.IsValid() {
		return self.Interface().(types.ManagedObjectReference)
	}
	return obj.Reference()
}

func (s *saver) writeObject(ctx context.Context, pc *property.Collector, ref types.ManagedObjectReference) error {
	req := types.RetrieveProperties{SpecSet: []types.PropertyFilterSpec{{
		ObjectSet: []types.ObjectSpec{{Obj: ref}},
		PropSet:   []types.PropertySpec{{Type: ref.Type, All: types.NewBool(true)}},
	}}}
	res, err := pc.RetrieveProperties(ctx, req)
	if err != nil || len(res.Returnval) == 0 {
		return err // gone meanwhile
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	if err := e.Encode(res.Returnval[0]); err != nil {
		return err
	}
	return os.WriteFile(s.file(ref), b.Bytes(), 0o600)
}

// file is where an object is written for the next save. The service's own object must be read first,
// and files are read in the order of their names.
func (s *saver) file(ref types.ManagedObjectReference) string {
	name := ref.Type + "-" + hex.EncodeToString([]byte(ref.Value)) + ".xml"
	if ref == vimService {
		name = "0000-" + name
	}
	return filepath.Join(s.next(), name)
}
