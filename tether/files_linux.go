package tether

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
	"github.com/vic-engine/vic/tether/archive"
	"github.com/vic-engine/vic/tether/proc"
	"github.com/vic-engine/vic/tether/system"
)

// service is a container's files as they are offered on the line.
type service struct {
	ready chan struct{} // closed when everything is mounted

	mu    sync.Mutex // guards users
	users int
	quiet chan struct{} // told, if it wants to hear, when users is 0 again
}

func newService() *service {
	return &service{ready: make(chan struct{}), quiet: make(chan struct{}, 1)}
}

func (s *service) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
}

func (s *service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	select {
	case s.quiet <- struct{}{}:
	default:
	}
}

func (s *service) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users > 0
}

// serveFiles does what the engine asks of the container's files, once they are
// there.
func (c *Container) serveFiles(ctx context.Context, q spec.FileRequest, s tetherproto.IO) error {
	c.files.enter()
	defer c.files.leave()
	select {
	case <-c.files.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.maintenance {
		if err := c.notShares(q); err != nil {
			return err
		}
	}
	j := archive.Job{
		FileRequest: q, Root: rootDir, Lower: imageDir, Upper: filepath.Join(writeDir, "upper"),
		Sync: c.maintenance, // it ends soon, and perhaps not in peace
	}
	if q.CopyUIDGID {
		var err error
		if j.UID, j.GID, err = proc.Owner(rootDir, c.spec.Process); err != nil {
			return fmt.Errorf("user %q of the container: %w", c.spec.Process.User, err)
		}
	}
	return archive.Run(ctx, c.reaper, j, s.Stdin, s.Stdout)
}

// withoutShares keeps everything from being put where NFS folders belong, which a
// guest in maintenance does not mount: it is on no network.
func (c *Container) withoutShares(mounts []spec.Mount) error {
	for _, m := range mounts {
		if m.Type != spec.MountNFS || insideShare(m, mounts) {
			continue
		}
		target, err := system.MakeInRoot(rootDir, m.Path)
		if err == nil {
			err = system.Mount{Source: "tmpfs", Target: target, Type: "tmpfs", Flags: unix.MS_RDONLY, Data: "size=0"}.Do()
		}
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.Path, err)
		}
	}
	return nil
}

// notShares refuses what would find an NFS folder empty.
func (c *Container) notShares(q spec.FileRequest) error {
	if q.Path == "" {
		return nil
	}
	at, err := proc.Resolve(rootDir, q.Path)
	if err != nil {
		return err
	}
	at = "/" + strings.TrimPrefix(strings.TrimPrefix(at, rootDir), "/")
	for _, m := range c.spec.Mounts {
		if m.Type != spec.MountNFS {
			continue
		}
		share := filepath.Clean(m.Path)
		if below(at, share) && at != share || q.Op != spec.FileOpStat && (at == share || q.Op == spec.FileOpGet && below(share, at)) {
			return fmt.Errorf("volume %s, mounted on %s, is on an NFS server, which only a running container reaches: start the container: %w",
				m.Name, m.Path, errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

// below tells whether p is dir, or in it.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// maintenanceIdle is how long a guest without a process stays on when nobody
// wants anything of it: its engine is gone. The engine itself ends it sooner.
const maintenanceIdle = 5 * time.Minute

// serve is a container's run in maintenance: its files are served and no process
// is started, until somebody turns the guest off or nobody needs it any more.
func (c *Container) serve(ctx context.Context) {
	c.log.Info("maintenance: no process is started")
	_ = c.rpc.Set(guestinfo.KeyTetherState, "MAINTENANCE")
	idle := time.NewTimer(maintenanceIdle)
	defer idle.Stop()
	for {
		select {
		case <-c.end.asked:
			return
		case <-ctx.Done():
			return
		case <-c.files.quiet:
			idle.Reset(maintenanceIdle)
		case <-idle.C:
			if !c.files.busy() {
				c.log.Warn("nobody uses this guest any more")
				return
			}
		}
	}
}
