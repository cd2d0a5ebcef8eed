package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// LoseDatastore makes a datastore of the lab in stateDir unreachable, as storage
// behind a broken path, or ends that: its accessible is false, and calls on its
// files fail with InaccessibleDatastore. Running VMs keep what they have open. It is
// a file in the state directory, which a running lab sees within a second, and
// which a restart keeps. ErrNotFound: there is no such datastore.
func LoseDatastore(stateDir, name string, lost bool) error {
	if !plainName(name) {
		return fmt.Errorf("datastore name %q: %w", name, errdefs.ErrInvalidArgument)
	}
	if _, err := os.Stat(filepath.Join(stateDir, "datastores", name)); err != nil {
		return fmt.Errorf("datastore %s of the lab in %s: %w", name, stateDir, errdefs.ErrNotFound)
	}
	mark := filepath.Join(stateDir, lostDir, name)
	if !lost {
		if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("datastore %s: %w", name, err)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(mark), 0o700); err != nil {
		return fmt.Errorf("datastore %s: %w", name, err)
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return fmt.Errorf("datastore %s: %w", name, err)
	}
	return nil
}

// lostDir has an empty file for each datastore that is lost.
const lostDir = "lost"

// lookForLost notes which datastores are lost now. Called from housekeeping.
func (l *Lab) lookForLost(c *simulator.Context) {
	list, err := os.ReadDir(filepath.Join(l.cfg.StateDir, lostDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.log.WithError(err).Warn("looking for lost datastores")
		return
	}
	now := map[string]bool{}
	for _, e := range list {
		now[e.Name()] = true
	}
	l.faults.mu.Lock()
	l.faults.lost = now
	l.faults.mu.Unlock()
	for _, ref := range c.Map.AllReference("Datastore") {
		ds, ok := ref.(*simulator.Datastore)
		if !ok {
			continue
		}
		locked(c, ds, func() {
			accessible := !now[ds.Name]
			if ds.Summary.Accessible == accessible {
				return
			}
			l.log.WithField("datastore", ds.Name).WithField("accessible", accessible).Info("datastore")
			changes := []types.PropertyChange{set("summary.accessible", accessible)}
			var hosts []types.DatastoreHostMount
			for _, h := range ds.Host {
				h.MountInfo.Accessible = types.NewBool(accessible)
				hosts = append(hosts, h)
			}
			if len(hosts) > 0 {
				changes = append(changes, set("host", hosts))
			}
			c.Update(ds, changes)
		})
	}
}

// inaccessible refuses what needs a lost datastore.
func (l *Lab) inaccessible(ds *simulator.Datastore) types.BaseMethodFault {
	l.faults.mu.Lock()
	defer l.faults.mu.Unlock()
	if !l.faults.lost[ds.Name] {
		return nil
	}
	ref := ds.Self
	return &types.InaccessibleDatastore{InvalidDatastore: types.InvalidDatastore{Datastore: &ref, Name: ds.Name}}
}

// lostPath is inaccessible for the datastore of a path, by its name alone.
func (l *Lab) lostPath(c *simulator.Context, name string) types.BaseMethodFault {
	var p object.DatastorePath
	if !p.FromString(name) {
		return nil
	}
	for _, ref := range c.Map.AllReference("Datastore") {
		if ds, ok := ref.(*simulator.Datastore); ok && ds.Name == p.Datastore {
			return l.inaccessible(ds)
		}
	}
	return nil
}
