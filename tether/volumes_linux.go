package tether

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

const (
	// volumesDir is where the disks of volumes are mounted, by unit; the
	// container sees them, or folders of them, bound to other places.
	volumesDir = "/run/vic/volumes"
	// copiedDir notes on the container's own disk which volumes were given the
	// image's data: a volume that was emptied since stays empty.
	copiedDir = writeDir + "/copied"
)

// disk is a volume's disk that is mounted.
type disk struct {
	name, fs, dev, dir string
	writable           bool
}

// volumeDisks are a container's, by unit. The engine may ask for one to grow at
// any time.
type volumeDisks struct {
	mu   sync.Mutex // guards byUnit
	unit map[int]*disk
}

func (v *volumeDisks) get(unit int) *disk {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.unit[unit]
}

func (v *volumeDisks) add(unit int, d *disk) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.unit == nil {
		v.unit = map[int]*disk{}
	}
	v.unit[unit] = d
}

func (v *volumeDisks) all() []*disk {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []*disk
	for _, d := range v.unit {
		out = append(out, d)
	}
	return out
}

// volumes mounts what the user asked for into the root, in the order given:
// sorted by destination.
func (c *Container) volumes(ctx context.Context) error {
	now, later := splitMounts(c.spec.Mounts)
	if err := c.mountAll(ctx, now); err != nil {
		return err
	}
	for _, m := range later {
		// While the root can still be written to. What is inside of a share can
		// not be made yet.
		if m.Type == spec.MountNFS && !insideShare(m, later) {
			if _, err := system.MakeInRoot(rootDir, m.Path); err != nil {
				return fmt.Errorf("mount %s: %w", m.Path, err)
			}
		}
	}
	return nil
}

func (c *Container) mountAll(ctx context.Context, mounts []spec.Mount) error {
	if len(mounts) == 0 {
		return nil
	}
	bus, err := system.PVSCSI()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if err := c.mount(ctx, bus, m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Path, err)
		}
	}
	return nil
}

func (c *Container) mount(ctx context.Context, bus *system.Bus, m spec.Mount) error {
	if m.Type == spec.MountSocket {
		return c.socket(ctx, m)
	}
	// Docker copies what the image has at the place, and its owner and mode; a
	// place that is only made now says nothing.
	fromImage := system.InRoot(rootDir, m.Path)
	target, err := system.MakeInRoot(rootDir, m.Path)
	if err != nil {
		return err
	}
	switch m.Type {
	case spec.MountTmpfs:
		flags, data := tmpfsOptions(m.Options)
		if m.ReadOnly {
			flags |= unix.MS_RDONLY
		}
		return system.Mount{Source: "tmpfs", Target: target, Type: "tmpfs", Flags: flags, Data: data}.Do()
	case spec.MountNFS:
		d, err := c.share(ctx, m)
		if err == nil {
			err = bind(d, m, target)
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", m.Name, err)
		}
		return nil
	case spec.MountVolume:
		d, err := c.volumeDisk(ctx, bus, m)
		if err == nil && fromImage && d.writable && !m.ReadOnly && !m.NoCopy && m.SubPath == "" {
			err = copyOnce(target, d.dir, m.Unit)
		}
		if err == nil {
			err = bind(d, m, target)
		}
		if err != nil {
			return fmt.Errorf("volume %s: %w", m.Name, err)
		}
		return nil
	}
	return fmt.Errorf("type %q is not known to this guest", m.Type)
}

// bind shows a volume, or a folder of it, to the container.
func bind(d *disk, m spec.Mount, target string) error {
	from := m.SubPath
	if from == "" {
		from = "."
	}
	if err := system.BindBelow(d.dir, from, target); err != nil {
		return err
	}
	if m.ReadOnly && d.writable {
		return system.MakeReadOnly(target)
	}
	return nil
}

// volumeDisk gives the mounted disk of a volume: writable if one of the
// container's mounts writes to it.
func (c *Container) volumeDisk(ctx context.Context, bus *system.Bus, m spec.Mount) (*disk, error) {
	if d := c.disksOf.get(m.Unit); d != nil {
		return d, nil
	}
	ctx, cancel := context.WithTimeout(ctx, diskWait)
	defer cancel()
	dev, err := bus.Disk(ctx, m.Unit)
	if err != nil {
		return nil, err
	}
	fs := m.FSType
	if fs == "" {
		fs = "ext4"
	}
	d := &disk{name: m.Name, fs: fs, dev: dev, dir: filepath.Join(volumesDir, fmt.Sprint(m.Unit)), writable: writes(c.spec.Mounts, m.Unit)}
	mnt := system.Mount{Source: dev, Target: d.dir, Type: fs, Flags: unix.MS_RDONLY}
	if d.writable {
		mnt.Flags = 0
	}
	switch fs {
	case "ext4":
		if d.writable {
			mnt.Data = system.Ext4Idle
		}
	case "xfs":
		mnt.Data = system.XFSOptions
		if err := c.filesystem(fs, system.XFS); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("filesystem %q is not known to this guest", fs)
	}
	if err := mnt.Do(); err != nil {
		return nil, err
	}
	c.disksOf.add(m.Unit, d)
	if !d.writable {
		return d, nil
	}
	// Programs that want an empty folder for their data refuse one with this in
	// it. The kernel does not need it, and e2fsck makes it when it does.
	if err := os.Remove(filepath.Join(d.dir, "lost+found")); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
		c.log.WithError(err).WithField(spec.FieldVolume, m.Name).Warn("lost+found stays")
	}
	// The disk may have grown while nobody had it mounted.
	grew, err := system.FillDisk(fs, dev, d.dir)
	if err != nil {
		c.log.WithError(err).WithField(spec.FieldVolume, m.Name).Warn("the filesystem is smaller than its disk")
	}
	if grew {
		c.log.WithField(spec.FieldVolume, m.Name).Info("the filesystem has grown to the size of its disk")
	}
	return d, nil
}

func writes(mounts []spec.Mount, unit int) bool {
	for _, m := range mounts {
		if m.Type == spec.MountVolume && m.Unit == unit && !m.ReadOnly {
			return true
		}
	}
	return false
}

// copyOnce gives an empty volume the image's data, at the container's first
// start only.
func copyOnce(from, to string, unit int) error {
	mark := filepath.Join(copiedDir, fmt.Sprint(unit))
	if _, err := os.Lstat(mark); err == nil {
		return nil
	}
	if err := system.CopyIfEmpty(from, to); err != nil {
		return err
	}
	if err := os.MkdirAll(copiedDir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(mark, nil, 0o600)
}

// grow lets the filesystem of a volume fill its disk, which has grown.
func (c *Container) grow(_ context.Context, unit int) error {
	d := c.disksOf.get(unit)
	if d == nil {
		return fmt.Errorf("no volume is mounted from scsi0:%d: %w", unit, errdefs.ErrNotFound)
	}
	if !d.writable {
		return fmt.Errorf("volume %s is mounted read-only: %w", d.name, errdefs.ErrConflict)
	}
	if err := system.RescanDisk(d.dev); err != nil {
		return fmt.Errorf("volume %s: %w", d.name, err)
	}
	grew, err := system.FillDisk(d.fs, d.dev, d.dir)
	if err != nil {
		return fmt.Errorf("volume %s: %w", d.name, err)
	}
	if !grew {
		return fmt.Errorf("volume %s: its disk %s is not larger than its filesystem: %w", d.name, d.dev, errdefs.ErrFailedPrecondition)
	}
	c.log.WithField(spec.FieldVolume, d.name).Info("the filesystem has grown to the size of its disk")
	return nil
}

// sealVolumes writes volumes out and marks them clean. One that a process still
// holds is written out by the power-off, and its journal replayed at its next mount.
func (c *Container) sealVolumes() {
	for _, d := range c.disksOf.all() {
		if !d.writable {
			continue
		}
		if err := system.Seal(d.dir); err != nil {
			c.log.WithError(err).WithField(spec.FieldVolume, d.name).Debug("volume is not marked clean")
			if c.sharesLost {
				_ = system.SyncFilesystem(d.dir) // nothing else will
			}
		}
	}
}
