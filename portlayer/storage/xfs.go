package storage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/containerd/errdefs"
)

// defaultMkfsXFS is where the appliance and Debian have the program.
const defaultMkfsXFS = "/sbin/mkfs.xfs"

// xfsBlank makes an empty XFS of a file with xfsprogs' own program: nobody else
// can tell what a journal, allocation groups and features of one size should be.
// What it writes is little, and not counted against the spool's budget.
func (v *Volumes) xfsBlank(ctx context.Context, f *os.File, _ int64) error {
	// -K: nothing is to be discarded, the file has nothing yet.
	cmd := exec.CommandContext(ctx, v.cfg.MkfsXFS, "-q", "-K", "-L", volumeLabel, f.Name())
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		// Not os.ErrNotExist, which is the class of a volume that is unknown.
		return fmt.Errorf("make an empty xfs: %v: %s: %w", err, strings.TrimSpace(string(out)), errdefs.ErrInternal)
	}
	return nil
}
