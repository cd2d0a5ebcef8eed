package tether

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// devices makes the devices that the user asked for in /dev, with what the kernel
// needs for them.
func (c *Container) devices(context.Context) error {
	for _, text := range c.spec.Root.Devices {
		path, inside, given := strings.Cut(text, ":")
		if !given {
			inside = path
		}
		d, ok := spec.VMDevice(path)
		if !ok {
			return fmt.Errorf("device %q is not known to this guest", path)
		}
		if d.Needs != "" {
			if err := c.driver(system.Phase(d.Needs)); err != nil {
				return fmt.Errorf("driver of %s: %w", path, err)
			}
		}
		if err := system.MakeDevice(rootDir, inside, d.Block, d.Major, d.Minor); err != nil {
			return err
		}
	}
	return nil
}

// driver loads modules on demand. Called only from the steps of the boot, which
// mount the disc one at a time.
func (c *Container) driver(phase system.Phase) error {
	defer c.discOut()
	return c.load(phase)
}

// systemPaths hides and seals what the user named, instead of what Docker does.
// Here, after all is mounted, a path may be of a volume too.
func (c *Container) systemPaths(context.Context) error {
	r := c.spec.Root
	if !r.OwnPaths {
		return nil
	}
	return system.HidePaths(rootDir, r.MaskedPaths, r.ReadonlyPaths)
}

// kept is where the output is kept.
func (c *Container) kept() io.Writer {
	if c.spec.NoLog {
		return io.Discard
	}
	return c.output
}
