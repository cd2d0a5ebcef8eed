package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// startLimit is how long QEMU may take until it runs: it opens disks meanwhile,
// and a machine that starts many VMs at once is slow.
const startLimit = time.Minute

// Start implements machine.Hypervisor.
func (h *Hypervisor) Start(ctx context.Context, m machine.Machine, g machine.Guest) (machine.Instance, error) {
	accel, err := h.pickAccel(ctx)
	if err != nil {
		return nil, err
	}
	return h.start(ctx, m, g, accel)
}

func (h *Hypervisor) start(ctx context.Context, m machine.Machine, g machine.Guest, accel string) (*instance, error) {
	if err := Check(m); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	p := h.paths(m)
	h.claimed(p)
	if err := clearRun(p); err != nil {
		return nil, fmt.Errorf("start VM %s: %w", m.Name, err)
	}
	i, err := h.launch(ctx, m, p, g, accel)
	if err != nil {
		_ = os.RemoveAll(p.Run)
		return nil, fmt.Errorf("start VM %s: %w", m.Name, err)
	}
	return i, nil
}

// clearRun makes an empty folder, unless the VM still runs.
func clearRun(p Paths) error {
	if r, err := loadRecord(p); err == nil {
		if proc, err := openProcess(r.PID, r.Started); err == nil {
			proc.close()
			return fmt.Errorf("process %d runs it already: %w", r.PID, errdefs.ErrAlreadyExists)
		}
	}
	if err := os.RemoveAll(p.Run); err != nil {
		return err
	}
	return os.Mkdir(p.Run, 0o700)
}

// launch starts QEMU and connects everything before the guest's first
// instruction.
func (h *Hypervisor) launch(ctx context.Context, m machine.Machine, p Paths, g machine.Guest, accel string) (_ *instance, err error) {
	dropRedo, err := makeRedo(m)
	if err != nil {
		return nil, err
	}
	// QEMU has them open when it greets, and needs no name then.
	defer dropRedo()

	cmd, err := h.spawn(m, p, Accel{Name: accel, TBSizeMB: cmp.Or(h.cfg.TBSizeMB, codeBuffer(m.MemoryMB))})
	if err != nil {
		return nil, err
	}
	proc, err := openProcess(cmd.Process.Pid, "")
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, err
	}
	i := h.newInstance(m, p, g, proc)
	i.cmd = cmd
	i.place(firstPlaces(m.NICs))
	i.watch()
	defer func() {
		if err != nil {
			i.Kill()
			<-i.done
		}
	}()
	// An end of QEMU ends what waits for it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(i.ctx, cancel)()

	// First of all, so that a later process finds it whatever becomes of us.
	i.accel = accel
	err = i.register()
	if err == nil {
		err = i.connect(ctx)
	}
	if err == nil {
		err = i.qmp.run(ctx, "cont", nil, nil)
	}
	if err == nil {
		err = i.running(ctx)
	}
	if err == nil {
		return i, nil
	}
	// When QEMU gave up, its own words are the reason.
	t := time.NewTimer(time.Second)
	defer t.Stop()
	select {
	case <-i.done:
		if i.said != "" {
			err = errors.New(i.said)
		}
	case <-t.C:
	}
	return nil, err
}

// spawn starts the process with the QMP socket already listening.
func (h *Hypervisor) spawn(m machine.Machine, p Paths, a Accel) (*exec.Cmd, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p.QMP(), Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("QMP socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	lf, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("QMP socket: %w", err)
	}
	defer lf.Close()
	stderr, err := os.OpenFile(p.stderr(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("QEMU's messages: %w", err)
	}
	defer stderr.Close()
	cmd := exec.Command(h.cfg.Binary, Args(m, p, a)...)
	cmd.ExtraFiles = []*os.File{lf} // qmpFD
	cmd.Stdout, cmd.Stderr = stderr, stderr
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("QEMU: %w", err)
	}
	return cmd, nil
}

// makeRedo writes the overlays of m's shared disks; the function it returns
// removes their names.
func makeRedo(m machine.Machine) (drop func(), err error) {
	var paths []string
	drop = func() {
		for _, p := range paths {
			_ = os.Remove(p)
		}
	}
	for _, d := range m.Disks {
		if !d.Nonpersistent || d.ReadOnly {
			continue
		}
		size, err := vmdkCapacity(d.Path)
		if err == nil {
			path := redoPath(m, d)
			paths = append(paths, path)
			err = writeRedo(path, size)
		}
		if err != nil {
			drop()
			return nil, err
		}
	}
	return drop, nil
}

// Adopt implements machine.Hypervisor. A process that is there but can't be
// taken over is killed, so that an error means that the VM is off.
func (h *Hypervisor) Adopt(ctx context.Context, m machine.Machine, g machine.Guest) (machine.Instance, error) {
	p := h.paths(m)
	h.claimed(p)
	i, err := h.adopt(ctx, m, p, g)
	if err != nil {
		_ = os.RemoveAll(p.Run)
		return nil, fmt.Errorf("adopt VM %s: %w", m.Name, err)
	}
	return i, nil
}

func (h *Hypervisor) adopt(ctx context.Context, m machine.Machine, p Paths, g machine.Guest) (_ *instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	r, err := loadRecord(p)
	if err != nil {
		return nil, err
	}
	proc, err := openProcess(r.PID, r.Started)
	if err != nil {
		return nil, err
	}
	i := h.newInstance(m, p, g, proc)
	i.accel = r.Accel
	if r.NICs == nil {
		r.NICs = firstPlaces(m.NICs)
	}
	i.place(r.NICs)
	i.watch()
	defer func() {
		if err != nil {
			i.Kill()
			<-i.done
		}
	}()
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(i.ctx, cancel)()
	if err := i.connect(ctx); err != nil {
		return nil, err
	}
	// A lab that died between connecting and cont left the guest stopped.
	if err := i.qmp.run(ctx, "cont", nil, nil); err != nil {
		return nil, err
	}
	if err := i.running(ctx); err != nil {
		return nil, err
	}
	return i, nil
}
