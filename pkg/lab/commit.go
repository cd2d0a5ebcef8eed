package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
)

// A save is one for all its files, so that a lab that is killed leaves a whole
// inventory: half a one would be completed by the simulator with its defaults.
// Files are first written to "inventory.next", which is then renamed to
// "inventory.done" and from there on counts, and then moved into "inventory".
// Whoever comes next finishes that move.

// goneMark ends the name of an empty file that removes the one without it.
const goneMark = ".gone"

func (s *saver) next() string { return s.dir() + ".next" }
func (s *saver) done() string { return s.dir() + ".done" }

// recover finishes the save that was under way when an earlier process ended, or
// drops it.
func (s *saver) recover() error {
	if err := s.settle(); err != nil {
		return err
	}
	return os.RemoveAll(s.next())
}

// commit makes the files in next count.
func (s *saver) commit() error {
	if err := os.Rename(s.next(), s.done()); err != nil {
		return err
	}
	return s.settle()
}

// settle moves the files of a save that counts to where they belong.
func (s *saver) settle() error {
	list, err := os.ReadDir(s.done())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.MkdirAll(s.dir(), 0o700)
	}
	if err != nil {
		return err
	}
	for _, e := range list {
		from := filepath.Join(s.done(), e.Name())
		if name, gone := strings.CutSuffix(e.Name(), goneMark); gone {
			err = os.Remove(filepath.Join(s.dir(), name))
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			err = errors.Join(err, os.Remove(from))
		} else {
			err = os.Rename(from, filepath.Join(s.dir(), e.Name()))
		}
		if err != nil {
			return err
		}
	}
	return os.Remove(s.done())
}

// saved tells whether there is an inventory to load. It refuses one without the
// objects that every inventory has.
func (s *saver) saved() (bool, error) {
	if err := s.recover(); err != nil {
		return false, err
	}
	list, err := os.ReadDir(s.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	kinds := []string{"0000-ServiceInstance", "Folder"}
	if s.l.cfg.Mode == ModeESXi { // of a vCenter they may all have been removed
		kinds = append(kinds, "Datacenter", "ComputeResource", "HostSystem")
	}
	for _, k := range kinds {
		found := false
		for _, e := range list {
			found = found || strings.HasPrefix(e.Name(), k+"-") && !strings.HasSuffix(e.Name(), "~")
		}
		if !found {
			return false, fmt.Errorf("no file %s-*.xml: it is damaged: begin anew with another state directory, and register the VMs of its datastores there: %w", k, errdefs.ErrDataLoss)
		}
	}
	return true, nil
}
