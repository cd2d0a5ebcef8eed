package tether

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/clock"
	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/policy/firewall"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/cgroup"
	"github.com/vic-engine/vic/tether/session"
	"github.com/vic-engine/vic/tether/system"
)

// Where the parts of a container's root are mounted. The image's disk and the
// container's own are joined at rootDir.
const (
	imageDir = "/run/vic/image"
	writeDir = "/run/vic/rw"
	rootDir  = "/run/vic/root"
	etcDir   = "/run/vic/etc"
)

// The UARTs of a containerVM; ttyS2 is the kernel's console.
const (
	controlLine = "/dev/ttyS0"
	outputLine  = "/dev/ttyS1"
)

// diskWait is how long a disk of the VM may take to appear. PVSCSI disks are
// there when the driver is loaded; an emulated machine under load is slower.
const diskWait = 10 * time.Second

// stopGrace is how long the process has after a soft power-off before it is
// killed, as Docker's default.
const stopGrace = 10 * time.Second

// Container is a containerVM while it boots and runs.
type Container struct {
	*VM
	spec        spec.Container
	maintenance bool
	session     *session.Manager
	group       *cgroup.Group
	room        room
	output      *os.File // ttyS1
	nics        nics
	disksOf     volumeDisks
	sockets     int               // that are relayed; changed by the boot only
	sharesOf    map[string]*disk  // mounted NFS folders by source; of the boot and the shutdown
	sharesLost  bool              // a server takes no writes: to sync everything would never end
	networked   chan struct{}     // closed when updates of the networks may come
	updated     chan struct{}     // closed when the first has come
	told        sync.Once         // of that
	announced   bool              // where its addresses are; of the boot, then of one update at a time
	updating    sync.Mutex        // held by an update; guards what it changes of spec once the boot is over
	written     map[string]string // the host files, as we wrote them last
	reporting   sync.Mutex        // guards reported
	reported    map[string]string // addresses by network
	firewall    firewall.Firewall // of policies; guarded by updating
	running     chan struct{}     // closed when the process has started
	once        sync.Once         // of that
	files       *service
}

func (c *Container) started() { c.once.Do(func() { close(c.running) }) }

// reporter lets what is not needed for the start begin after it.
type reporter struct {
	session.Reporter
	started func()
}

func (r reporter) Started(id string, pid int, at time.Time) error {
	defer r.started()
	return r.Reporter.Started(id, pid, at)
}

// bootContainer runs a containerVM from its configuration to its power-off.
func bootContainer(ctx context.Context, c *Container) error {
	c.running, c.networked, c.updated, c.files = make(chan struct{}), make(chan struct{}), make(chan struct{}), newService()
	err := run(ctx, c, containerSteps(), c.log)
	if err == nil {
		err = c.process(ctx)
	}
	if err != nil {
		c.fail(err)
	}
	return c.shutDown()
}

// fail reports a boot that cannot run the process: to the engine, and as the
// container's exit for whoever reads the VM's configuration later.
func (c *Container) fail(err error) {
	c.log.WithError(err).Error("boot failed, powering off")
	_ = c.rpc.Set(guestinfo.KeyTetherState, "FAILED: "+err.Error())
	if c.maintenance {
		return // the container's last exit stays what it was
	}
	if c.session != nil {
		c.session.Fail(err)
		return
	}
	id, _, _ := c.rpc.Get(guestinfo.KeyID)
	now := time.Now()
	for _, p := range guestinfo.ExitedPairs(id, spec.ExitStatus{Code: spec.ExitGuestFailed, Error: err.Error(), Started: now, Stopped: now}) {
		if err := c.rpc.Set(p.Key, p.Value); err != nil {
			c.log.WithError(err).Error("exit status not reported")
			return
		}
	}
}

func (c *Container) configuration(context.Context) (err error) {
	if c.spec, err = guestinfo.DecodeContainer(c.get); err != nil {
		return err
	}
	mode, _, err := c.rpc.Get(guestinfo.KeyMode)
	if err != nil {
		return err
	}
	c.maintenance = mode == guestinfo.ModeMaintenance
	c.log.WithField(spec.FieldContainer, c.spec.ID).Info("container")
	return c.spec.Validate()
}

// line makes this boot's host key, publishes it, and serves the control line.
func (c *Container) line(ctx context.Context) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return fmt.Errorf("host key: %w", err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	if err := c.rpc.Set(guestinfo.KeyHostKey, public); err != nil {
		return err
	}
	if c.output, err = system.OpenSerial(outputLine); err != nil {
		return err
	}
	cfg := session.Config{
		Container: c.spec,
		BootID:    c.bootID,
		HostKey:   signer,
		Reaper:    c.reaper,
		Log:       c.kept(),
		Reporter:  reporter{session.GuestinfoReporter(c.rpc), c.started},
		Logger:    c.log,
		Network:   c.updateNetwork,
		Grow:      c.grow,
		Enlarge:   c.enlarge,
		Clock:     clock.System(),
		Files:     c.serveFiles,
	}
	if c.maintenance {
		cfg.Network, cfg.Enlarge, cfg.PowerOff = nil, nil, func() { c.end.ask(false) }
	}
	if c.session, err = session.New(cfg); err != nil {
		return err
	}
	c.goes(func() {
		if err := c.session.ServeLine(ctx, session.OpenLine(controlLine)); err != nil && ctx.Err() == nil {
			c.log.WithError(err).Error("control line ended")
		}
	})
	return nil
}

func (c *Container) hostname(context.Context) error {
	if err := system.Loopback(); err != nil {
		return err
	}
	if d := c.spec.Domainname; d != "" {
		if err := system.Domainname(d); err != nil {
			return err
		}
	}
	return system.Hostname(hostnameOf(c.spec))
}

func (c *Container) disks(ctx context.Context) error {
	bus, err := system.PVSCSI()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, diskWait)
	defer cancel()
	r := c.spec.Root
	for _, d := range []struct {
		what, dir string
		unit      int
		flags     uintptr
		options   string
	}{
		{"image", imageDir, r.ImageUnit, unix.MS_RDONLY, ""},
		{"container", writeDir, r.UpperUnit, 0, system.Ext4Idle},
	} {
		dev, err := bus.Disk(ctx, d.unit)
		if err != nil {
			return fmt.Errorf("%s disk: %w", d.what, err)
		}
		if err := (system.Mount{Source: dev, Target: d.dir, Type: "ext4", Flags: d.flags, Data: d.options}).Do(); err != nil {
			return fmt.Errorf("%s disk scsi0:%d: %w", d.what, d.unit, err)
		}
	}
	return nil
}

func (c *Container) root(context.Context) error {
	err := system.Overlay(imageDir, filepath.Join(writeDir, "upper"), filepath.Join(writeDir, "work"), rootDir, false)
	if err != nil {
		return err
	}
	r := c.spec.Root
	return system.KernelFilesystems(rootDir, system.RootOptions{
		ShmBytes: r.ShmSizeBytes, Privileged: c.spec.Process.Privileged, NoShm: r.NoShm, OwnPaths: r.OwnPaths,
		Cgroup: c.group.Dir(),
	})
}

// hostFiles puts the three files that Docker manages over those of the image,
// and then seals a root that shall be read-only.
func (c *Container) hostFiles(context.Context) error {
	files := c.hostTexts()
	if err := os.MkdirAll(etcDir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		from := filepath.Join(etcDir, name)
		if err := os.WriteFile(from, []byte(text), 0o644); err != nil {
			return err
		}
		if c.mounted("/etc/" + name) {
			continue
		}
		if err := system.BindInRoot(from, rootDir, "/etc", name); err != nil {
			return err
		}
	}
	c.written = files
	close(c.networked)
	if !c.spec.Root.ReadOnly {
		return nil
	}
	if err := unix.Mount("", rootDir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("read-only root: %w", err)
	}
	return nil
}

func (c *Container) resolvConf() string {
	servers, search := c.spec.DNS.Servers, c.spec.DNS.Search
	if len(servers) == 0 {
		servers = c.nics.dns()
	}
	if len(search) == 0 {
		search = c.nics.search()
	}
	return system.ResolvConf(servers, search, c.spec.DNS.Options)
}

// mounted tells whether the user mounts something of their own at path.
func (c *Container) mounted(path string) bool {
	for _, m := range c.spec.Mounts {
		if filepath.Clean(m.Path) == path {
			return true
		}
	}
	return false
}

func (c *Container) sysctls(context.Context) error {
	if c.maintenance {
		return nil // nobody runs under them
	}
	return system.Sysctls(c.spec.Root.Sysctls)
}

// How long the tools let the process start first: one that waits for the engine
// must be stoppable meanwhile. After its start they wait a little more, since a
// short process would share the CPU with them, and the engine stops it by the
// line.
const (
	toolsWait  = 2 * time.Second
	toolsAfter = time.Second
)

func (c *Container) startTools(ctx context.Context) error {
	c.goes(func() {
		wait := time.NewTimer(toolsWait)
		defer wait.Stop()
		select {
		case <-c.running:
			wait.Reset(toolsAfter)
			select {
			case <-wait.C:
			case <-ctx.Done():
				return
			}
		case <-wait.C:
		case <-ctx.Done():
			return
		}
		c.settle()
		if !c.maintenance {
			_ = c.rpc.Set(guestinfo.KeyTetherState, "") // what a failed boot before left
		}
		c.runTools(ctx, "a soft power-off will not reach this guest")
	})
	c.goes(func() { c.obeyStop(ctx) })
	return nil
}

// obeyStop passes a soft power-off on to the process: its stop signal, and after
// stopGrace SIGKILL.
func (c *Container) obeyStop(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-c.end.asked:
	}
	c.log.Info("asked to stop")
	if err := c.session.Stop(ctx); err != nil {
		c.log.WithError(err).Warn("stop signal not delivered")
	}
	wait := time.NewTimer(stopGrace)
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
		c.log.Warn("the process did not stop, killing it")
		if err := c.session.Signal("SIGKILL"); err != nil {
			c.log.WithError(err).Warn("not killed")
		}
	}
}

// process runs the container's process to its end.
func (c *Container) process(ctx context.Context) error {
	c.showMemory()
	close(c.files.ready)
	if c.maintenance {
		c.serve(ctx)
		return nil
	}
	c.awaitPeers(ctx)
	if err := c.closeUntold(); err != nil {
		return err
	}
	c.giveRoom()
	exit, err := c.session.Run(ctx, rootDir, c.group)
	if err != nil {
		return err
	}
	c.log.WithField("code", exit.Code).Info("process ended")
	return nil
}

// shutDown ends what is left and powers off. Nothing here may take long: the
// engine takes the VM's power-off for the container's end.
func (c *Container) shutDown() error {
	begin := time.Now()
	if c.output != nil {
		_ = system.Drain(c.output)
	}
	drained := time.Since(begin)
	killAll()
	c.sealShares()
	c.sealVolumes()
	if err := system.Seal(writeDir); err != nil {
		c.log.WithError(err).Debug("unmounting instead")
		if c.sharesLost {
			_ = system.SyncFilesystem(writeDir)
		}
		if err := errors.Join(system.Unmount(rootDir), system.Unmount(writeDir)); err != nil {
			c.log.WithError(err).Warn("not unmounted")
		}
	}
	c.log.WithField("drain", drained.Round(time.Millisecond)).
		WithField(spec.FieldDuration, time.Since(begin).Round(time.Millisecond)).Info("powering off")
	if c.sharesLost {
		return system.PowerOff()
	}
	return c.powerOff()
}

// killAll ends every process but this one.
func killAll() { _ = unix.Kill(-1, unix.SIGKILL) }
