package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/isos"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu"
	"github.com/vic-engine/vic/pkg/lab/vnet"
)

const (
	bareBridge   = "bare"
	bareExternal = "VM Network"
	// bareTimeout bounds a command in a bare VM, and its boot.
	bareTimeout = 3 * time.Minute
)

// room is where bare VMs run: the lab's own hypervisor and switches, in this
// process, and nothing of vSphere.
type room struct {
	hv    *qemu.Hypervisor
	plan  vnet.Plan
	dir   string
	iso   string // of bare VMs; made when first wanted
	cache isos.Cache
	stop  context.CancelFunc
	work  errgroup.Group

	mu    sync.Mutex // guards what follows
	lines map[string]chan net.Conn
	n     int
}

func newRoom(dir, probe string, log *logrus.Entry) (*room, error) {
	r := &room{dir: dir, cache: isos.Cache{Dir: ".cache", Log: log}, lines: map[string]chan net.Conn{}}
	network, err := vnet.New(vnet.Config{Plan: r.plan, NoForwards: true, Log: log})
	if err != nil {
		return nil, err
	}
	r.hv, err = qemu.New(qemu.Config{RunDir: filepath.Join(dir, "run"), ProbeISO: probe, Network: network, Dial: r.dial, Log: log})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background()) // until close
	r.stop = stop
	r.work.Go(func() error { return network.Run(ctx) })
	return r, nil
}

func (r *room) close() {
	r.hv.Close()
	r.stop()
	_ = r.work.Wait() // what it had to do is done
}

// routerAddr is a free address of the outer network.
func (r *room) routerAddr() netip.Addr {
	b := r.plan.Gateway().As4()
	b[3] = 253
	return netip.AddrFrom4(b)
}

// line gives the name of a new serial line, as QEMU dials it, and its other end
// when it has.
func (r *room) line() (uri string, far <-chan net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	addr := fmt.Sprintf("bench:%d", r.n)
	c := make(chan net.Conn, 1)
	r.lines[addr] = c
	return "tcp://" + addr, c
}

func (r *room) dial(_ context.Context, _, addr string) (net.Conn, error) {
	r.mu.Lock()
	c := r.lines[addr]
	delete(r.lines, addr)
	r.mu.Unlock()
	if c == nil {
		return nil, fmt.Errorf("no line %s", addr)
	}
	near, far := net.Pipe()
	c <- far
	return near, nil
}

// bare is a running VM of the room.
type bare struct {
	name  string
	vm    machine.Instance
	conn  net.Conn
	lines *bufio.Reader
}

// start boots a bare VM of the size that containers have by default, with an
// image's disk on /image, and the further disks at their units.
func (r *room) start(ctx context.Context, m machine.Machine) (_ *bare, err error) {
	if r.iso == "" {
		b, err := isos.New(isos.Config{Root: ".", Cache: r.cache, Log: r.cache.Log})
		if err != nil {
			return nil, err
		}
		if r.iso, err = b.Write(ctx, bareManifest(), r.dir); err != nil {
			return nil, err
		}
	}
	m.ID, m.UUID, m.CDROM = m.Name, uuid.NewString(), r.iso
	m.CPUs, m.MemoryMB = max(1, m.CPUs), max(256, m.MemoryMB)
	if m.Dir, err = os.MkdirTemp(r.dir, m.Name); err != nil {
		return nil, err
	}
	uri, far := r.line()
	m.Serials = []machine.Serial{{URI: uri}, {}, {File: filepath.Join(m.Dir, "console.log")}}
	vm, err := r.hv.Start(ctx, m, mute{})
	if err != nil {
		return nil, err
	}
	b := &bare{name: m.Name, vm: vm}
	defer func() {
		if err != nil {
			console, _ := os.ReadFile(m.Serials[2].File)
			err = fmt.Errorf("bare VM %s: %w\n%s", m.Name, err, console)
			b.kill()
		}
	}()
	select {
	case b.conn = <-far:
	case <-vm.Done():
		return nil, fmt.Errorf("it ended: %w", vm.Err())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b.lines = bufio.NewReader(b.conn)
	if _, err := b.answer(ctx); err != nil {
		return nil, err
	}
	setup := "mount -t ext4 -o ro $(disk 0) /image && mount -t tmpfs tmp /image/tmp && for d in dev proc sys; do mount --bind /$d /image/$d; done"
	_, err = b.run(ctx, setup)
	return b, err
}

func (b *bare) kill() {
	b.vm.Kill()
	<-b.vm.Done()
	if b.conn != nil {
		_ = b.conn.Close()
	}
}

// run does a command in the VM and gives what it printed.
func (b *bare) run(ctx context.Context, command string) (string, error) {
	if err := b.conn.SetDeadline(time.Now().Add(bareTimeout)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(b.conn, "%s\n", command); err != nil {
		return "", fmt.Errorf("bare VM %s: %s: %w", b.name, command, err)
	}
	text, err := b.answer(ctx)
	if err != nil {
		return "", fmt.Errorf("bare VM %s: %s: %w", b.name, command, err)
	}
	return text, nil
}

func (b *bare) answer(ctx context.Context) (string, error) {
	defer context.AfterFunc(ctx, func() { _ = b.conn.Close() })()
	if err := b.conn.SetDeadline(time.Now().Add(bareTimeout)); err != nil {
		return "", err
	}
	var text strings.Builder
	for {
		line, err := b.lines.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("no answer: %w: %q", err, text.String())
		}
		if said, code, ok := strings.Cut(line, bareDone+" "); ok {
			text.WriteString(said)
			if code != "0\n" {
				return "", fmt.Errorf("exit code %s: %s", strings.TrimSpace(code), text.String())
			}
			return text.String(), nil
		}
		text.WriteString(line)
	}
}
