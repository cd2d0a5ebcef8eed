package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/guestrpc"
	"github.com/vic-engine/vic/pkg/lab/machine"
)

// instance is a running VM.
type instance struct {
	h      *Hypervisor
	m      machine.Machine
	p      Paths
	log    *logrus.Entry
	proc   *process
	cmd    *exec.Cmd // nil when adopted
	qmp    *qmp      // set by connect before anybody else has the instance
	rpc    *guestrpc.Host
	accel  string          // set before anybody else has the instance
	ctx    context.Context // ends with the process, or with Hypervisor.Close
	cancel context.CancelFunc

	done chan struct{} // closed when the VM is off; err and said are set before
	err  error
	said string // QEMU's messages

	// userspace is closed when the guest first opens a guest RPC port.
	userspace chan struct{}

	mu      sync.Mutex // guards what follows
	killed  bool
	broken  error                         // why QEMU can't run the guest any further
	off     bool                          // QEMU told of an orderly end
	hangup  map[string]context.CancelFunc // of the streams being served, by port id
	nics    map[string]*card              // that QEMU has, by MAC address
	ejected map[string]chan struct{}      // closed when QEMU has let go of a device, by its id
	reached bool                          // userspace is closed

	// hot is held while the hardware changes.
	hot sync.Mutex
}

var _ machine.Instance = (*instance)(nil)

func (h *Hypervisor) newInstance(m machine.Machine, p Paths, g machine.Guest, proc *process) *instance {
	log := h.cfg.Log.WithFields(logrus.Fields{"vm": m.Name, "pid": proc.pid})
	i := &instance{h: h, m: m, p: p, log: log, proc: proc,
		rpc:  guestrpc.New(guestrpc.Config{Guest: g, Log: log}),
		done: make(chan struct{}), userspace: make(chan struct{}), hangup: map[string]context.CancelFunc{},
		nics: map[string]*card{}, ejected: map[string]chan struct{}{}}
	i.ctx, i.cancel = context.WithCancel(h.ctx)
	return i
}

// watch waits for the end of the process.
func (i *instance) watch() {
	i.h.wg.Go(func() {
		if err := i.proc.wait(i.h.ctx); err != nil {
			i.cancel()
			i.mu.Lock()
			q := i.qmp
			i.mu.Unlock()
			if q != nil {
				q.close() // QEMU listens to one client only: leave it to the next
			}
			if i.h.ctx.Err() == nil {
				i.log.WithError(err).Error("VM can't be watched any more")
			}
			return // the VM stays up, unserved
		}
		var exit error
		if i.cmd != nil {
			exit = i.cmd.Wait()
		}
		i.cancel()
		i.mu.Lock()
		q := i.qmp
		i.mu.Unlock()
		if q != nil {
			<-q.done // its last events have been read
		}
		i.finish(exit)
	})
}

// finish says how the VM ended.
func (i *instance) finish(exit error) {
	i.mu.Lock()
	orderly := i.broken == nil && (i.killed || i.off || i.cmd != nil && exit == nil)
	if i.broken != nil {
		exit = i.broken
	}
	i.mu.Unlock()
	i.said = strings.TrimSpace(stderrText(i.p))
	if !orderly {
		if exit == nil {
			exit = errors.New("ended without the guest's or anybody's wish")
		}
		i.err = fmt.Errorf("QEMU of VM %s: %w: %s", i.m.Name, exit, i.said)
	}
	_ = os.RemoveAll(i.p.Run)
	i.log.WithField("orderly", orderly).Info("VM is off")
	i.proc.close()
	close(i.done)
}

// register makes the VM findable for a later process.
func (i *instance) register() error {
	started, err := startedAt(i.proc.pid)
	if err != nil {
		return err
	}
	return record{PID: i.proc.pid, Started: started, Name: i.m.Name, Accel: i.accel, NICs: i.places()}.save(i.p)
}

// connect waits for QEMU and then serves every port of the VM.
func (i *instance) connect(ctx context.Context) error {
	conn, err := dialUnix(ctx, i.p.QMP())
	if err != nil {
		return err
	}
	q, err := newQMP(ctx, conn, i.onEvent)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.qmp = q
	i.mu.Unlock()
	for _, port := range []struct {
		id, path string
		serve    func(context.Context, net.Conn) error
	}{
		{"vic.rpci", i.p.RPCI(), func(ctx context.Context, c net.Conn) error { return i.rpc.ServeRPCI(ctx, c) }},
		{"vic.tclo", i.p.TCLO(), func(ctx context.Context, c net.Conn) error { return i.rpc.ServeTCLO(ctx, c) }},
	} {
		if err := i.keep(ctx, i.ctx, port.id, port.path, port.serve); err != nil {
			return err
		}
	}
	if i.h.cfg.Network != nil {
		for _, nic := range i.m.NICs {
			if err := i.link(ctx, nic); err != nil {
				return err
			}
		}
	}
	for n, s := range i.m.Serials {
		if s.File == "" && s.URI != "" {
			i.h.wg.Go(func() { i.relay(i.ctx, n, s) })
		}
	}
	return nil
}

// keep connects to one of QEMU's sockets, and again each time serve returns,
// until life ends, at the latest with the VM. The first connection is made before
// it returns.
func (i *instance) keep(ctx, life context.Context, id, path string, serve func(context.Context, net.Conn) error) error {
	conn, err := dialListening(ctx, path)
	if err != nil {
		return err
	}
	i.h.wg.Go(func() {
		log := i.log.WithField("port", id)
		retry := backoff{}
		for {
			sctx, hangup := context.WithCancel(life)
			i.mu.Lock()
			i.hangup[id] = hangup
			i.mu.Unlock()
			err := serve(sctx, conn)
			asked := sctx.Err() != nil
			hangup()
			_ = conn.Close()
			if life.Err() != nil {
				return
			}
			if !closed(err) {
				log.WithError(err).Warn("port of VM ended")
			}
			if asked { // the guest left; it may come back at once
				retry = backoff{}
			}
			for conn = nil; conn == nil; {
				if !asked && !retry.wait(life) {
					return
				}
				asked = false
				if conn, err = dialUnix(life, path); err != nil && life.Err() == nil {
					log.WithError(err).Debug("port of VM does not answer")
				}
			}
		}
	})
	return nil
}

// onEvent is called by the QMP client's reader.
func (i *instance) onEvent(e qmpEvent) {
	i.log.WithFields(logrus.Fields{"event": e.Name, "data": string(e.Data)}).Debug("QEMU tells")
	switch e.Name {
	case "SHUTDOWN":
		i.mu.Lock()
		i.off = true
		i.mu.Unlock()
	case "STOP":
		// Nobody here stops a guest: QEMU could not go on.
		i.h.wg.Go(i.giveUp)
	case "BLOCK_IO_ERROR":
		i.log.WithField("data", string(e.Data)).Warn("disk error given to the guest")
	case "DEVICE_DELETED":
		var d struct {
			Device string `json:"device"`
		}
		if json.Unmarshal(e.Data, &d) == nil && d.Device != "" {
			i.gone(d.Device)
		}
	case "VSERPORT_CHANGE":
		var d struct {
			ID   string `json:"id"`
			Open bool   `json:"open"`
		}
		if json.Unmarshal(e.Data, &d) != nil {
			return
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		if d.Open && !i.reached {
			i.reached = true
			close(i.userspace)
		}
		// What is half said on either side dies with the guest's end of it.
		if hangup := i.hangup[d.ID]; hangup != nil && !d.Open {
			hangup()
		}
	}
}

// giveUp ends a VM that QEMU has stopped, such as at a KVM internal error: it
// would look powered on for ever.
func (i *instance) giveUp() {
	ctx, cancel := context.WithTimeout(i.ctx, commandLimit)
	defer cancel()
	err := i.running(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	i.mu.Lock()
	if i.broken == nil && !i.killed {
		i.broken = err
	}
	i.mu.Unlock()
	i.Kill()
}

// running fails unless the guest's processors run.
func (i *instance) running(ctx context.Context) error {
	var st struct {
		Status string `json:"status"`
	}
	if err := i.qmp.run(ctx, "query-status", nil, &st); err != nil {
		return err
	}
	if st.Status != "running" {
		return fmt.Errorf("the guest is stopped: %s", st.Status)
	}
	return nil
}

func (i *instance) PID() int              { return i.proc.pid }
func (i *instance) Done() <-chan struct{} { return i.done }

func (i *instance) Err() error {
	select {
	case <-i.done:
		return i.err
	default:
		return nil
	}
}

// killGrace is how long QEMU has to close its images in order.
const killGrace = 3 * time.Second

func (i *instance) Kill() {
	i.mu.Lock()
	again := i.killed
	i.killed = true
	i.mu.Unlock()
	if err := i.proc.signal(syscall.SIGTERM); err != nil || again {
		return // ending or ended
	}
	i.h.wg.Go(func() {
		hard := time.NewTimer(killGrace)
		defer hard.Stop()
		select {
		case <-i.done:
		case <-hard.C:
			_ = i.proc.signal(syscall.SIGKILL)
		}
	})
}

// commandLimit bounds commands that a caller gives without a context. The guest
// may be slow to take a soft one.
const commandLimit = 30 * time.Second

func (i *instance) Reset() error {
	ctx, cancel := context.WithTimeout(i.ctx, commandLimit)
	defer cancel()
	return i.qmp.run(ctx, "system_reset", nil, nil)
}

func (i *instance) ShutdownGuest() error { return i.power(guestrpc.Halt) }
func (i *instance) RebootGuest() error   { return i.power(guestrpc.Reboot) }

func (i *instance) power(op guestrpc.Op) error {
	ctx, cancel := context.WithTimeout(i.ctx, commandLimit)
	defer cancel()
	err := i.rpc.Power(ctx, op)
	if err != nil && op == guestrpc.Halt && i.ctx.Err() != nil && i.h.ctx.Err() == nil {
		return nil // off before it could answer
	}
	if err != nil {
		return fmt.Errorf("VM %s: %w", i.m.Name, err)
	}
	return nil
}

func (i *instance) Usage() (machine.Usage, error) { return i.proc.usage() }
