package tether

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/guestinfo/rpci"
	"github.com/vic-engine/vic/tether/proc"
	"github.com/vic-engine/vic/tether/system"
)

// VM is what the steps of either kind share: they fill it from top to bottom.
type VM struct {
	log    *logrus.Entry
	kind   string
	rpc    *rpci.Client
	reaper *proc.Reaper
	bootID string
	tools  atomic.Pointer[tools] // nil until they run
	loaded sync.Map              // the phases whose modules are

	// end is called when somebody asks the guest to stop.
	end powerRequest

	// wg counts what goes started. Nobody waits for it: PID 1 ends with the VM.
	wg sync.WaitGroup
}

// powerRequest is what vSphere asked of the guest.
type powerRequest struct {
	once   sync.Once
	asked  chan struct{} // closed when asked
	reboot bool          // valid once asked is closed
}

func (p *powerRequest) ask(reboot bool) {
	p.once.Do(func() {
		p.reboot = reboot
		close(p.asked)
	})
}

// bootMemory bounds what a boot may leave lying around, in bytes. It takes about
// 10 MiB, and to collect that is work that a start waits for; see settle.
const bootMemory = 32 << 20

// settle is for when nobody waits for this guest any more: garbage is collected
// from now on.
func (vm *VM) settle() {
	debug.SetGCPercent(100)
	debug.SetMemoryLimit(math.MaxInt64)
	debug.FreeOSMemory()
}

// Boot is the whole life of PID 1. It returns only when the VM could not be
// powered off.
func Boot(ctx context.Context) error {
	debug.SetMemoryLimit(bootMemory)
	debug.SetGCPercent(-1)
	vm := &VM{log: newLog(os.Stderr, true), end: powerRequest{asked: make(chan struct{})}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer vm.lastResort()
	if err := run(ctx, vm, earlySteps(), vm.log); err != nil {
		return vm.giveUp(err)
	}
	switch vm.kind {
	case guestinfo.KindAppliance:
		return bootAppliance(ctx, &Appliance{VM: vm})
	default:
		return bootContainer(ctx, &Container{VM: vm})
	}
}

// giveUp is the end of a boot that cannot even tell whose VM this is.
func (vm *VM) giveUp(err error) error {
	vm.log.WithError(err).Error("boot failed, powering off")
	if vm.rpc != nil {
		_ = vm.rpc.Set(guestinfo.KeyTetherState, "FAILED: "+err.Error())
	}
	return vm.powerOff()
}

// powerOff syncs what is mounted and ends the VM, or restarts it when that was
// asked for.
func (vm *VM) powerOff() error {
	select {
	case <-vm.end.asked:
		if vm.end.reboot {
			system.Sync()
			return system.Reboot()
		}
	default:
	}
	system.Sync()
	return system.PowerOff()
}

// lastResort powers off when PID 1 panics: were it to die, the kernel would
// restart the VM and with it the container's process.
func (vm *VM) lastResort() {
	if r := recover(); r != nil {
		vm.log.Errorf("panic: %v: %s", r, debug.Stack())
		_ = vm.powerOff()
	}
}

// goes starts a goroutine that cannot end PID 1 by panicking.
func (vm *VM) goes(fn func()) {
	vm.wg.Go(func() {
		defer vm.lastResort()
		fn()
	})
}

// consoleLevel shows our Info and the kernel's warnings, see kernelLevel.
const consoleLevel = 5

func (vm *VM) kernelFilesystems(context.Context) error {
	if err := system.MountAll(system.Pseudo()); err != nil {
		return err
	}
	f, err := system.Kmsg()
	if err != nil {
		return fmt.Errorf("kernel log: %w", err)
	}
	vm.log.Logger.SetOutput(f)
	unix.Umask(0o022)
	if err := system.SetConsoleLevel(consoleLevel); err != nil {
		return err
	}
	vm.log.Info("init")
	return system.IgnoreCtrlAltDel()
}

// modulesDir is where package isos puts the kernel's modules.
const modulesDir = "/lib/modules"

func (vm *VM) modules(context.Context) error { return vm.load(system.Now) }

func (vm *VM) lateModules(context.Context) error { return vm.load(system.Late) }

// load loads the modules of a phase, once: to find that all are there takes 10 ms.
func (vm *VM) load(phase system.Phase) error {
	if _, done := vm.loaded.Load(phase); done {
		return nil
	}
	loaded, err := system.LoadModules(modulesDir, phase, vm.disc)
	for _, m := range loaded {
		vm.log.WithField("module", m.File).WithField("took", m.Took.Round(100*time.Microsecond)).Debug("loaded")
	}
	if err == nil {
		vm.loaded.Store(phase, true)
	}
	return err
}

// discDir is where the boot disc is mounted while modules are read from it.
const discDir = "/run/vic/disc"

// discWait is how long the CD drive may take to appear after its driver.
const discWait = 20 * time.Second

// disc mounts the boot disc.
func (vm *VM) disc() (string, error) {
	if err := vm.load(system.DiscDrive); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), discWait) // callers have no shorter wait
	defer cancel()
	return discDir, system.MountDisc(ctx, discDir)
}

func (vm *VM) discOut() {
	if err := system.Unmount(discDir); err != nil {
		vm.log.WithError(err).Debug("boot disc stays mounted")
	}
}

// filesystem makes the kernel know a type of filesystem that is not built in.
// Called only from the steps of the boot, which mount the disc one at a time.
func (vm *VM) filesystem(name string, phase system.Phase) error {
	known, err := system.HasFilesystem(name)
	if err != nil || known {
		return err
	}
	defer vm.discOut()
	return vm.load(phase)
}

func (vm *VM) guestRPC(context.Context) error {
	c, err := rpci.Open()
	if err != nil {
		return err
	}
	vm.rpc = c
	vm.log.WithField("transport", c.Transport()).Debug("guest RPC")
	return nil
}

func (vm *VM) readKind(context.Context) error {
	kind, ok, err := vm.rpc.Get(guestinfo.KeyKind)
	if err != nil {
		return err
	}
	switch {
	case !ok:
		return fmt.Errorf("no %s in this VM's configuration: it was not made by vic", guestinfo.KeyKind)
	case kind != guestinfo.KindAppliance && kind != guestinfo.KindContainer:
		return fmt.Errorf("%s is %q: want %s or %s", guestinfo.KeyKind, kind, guestinfo.KindContainer, guestinfo.KindAppliance)
	}
	vm.kind = kind
	id := make([]byte, 8)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	vm.bootID = hex.EncodeToString(id)
	return vm.rpc.Set(guestinfo.KeyBootID, vm.bootID)
}

// get reads a key of the configuration. Hidden keys are not even asked for: the
// hypervisor refuses them to a guest.
func (vm *VM) get(key string) (string, bool, error) {
	if !strings.HasPrefix(key, "guestinfo.") {
		return "", false, nil
	}
	return vm.rpc.Get(key)
}

// runTools serves vSphere's requests until ctx ends.
func (vm *VM) runTools(ctx context.Context, without string) {
	t := newTools(vm)
	vm.tools.Store(t)
	if err := t.run(ctx); err != nil && ctx.Err() == nil {
		vm.log.WithError(err).Warn("no tools: " + without)
	}
}

// tell lets vSphere know of another address.
func (vm *VM) tell() {
	if t := vm.tools.Load(); t != nil {
		t.tell()
	}
}

// startReaper takes over the children that PID 1 inherits.
func (vm *VM) startReaper(ctx context.Context) error {
	vm.reaper = proc.NewReaper(vm.log)
	vm.goes(func() { vm.reaper.Run(ctx) })
	return nil
}

// showMemory prints how much memory the guest itself needs.
func (vm *VM) showMemory() {
	m, err := system.ReadMemory()
	if err != nil {
		vm.log.WithError(err).Warn("memory unknown")
		return
	}
	vm.log.Infof("memory used %.1f MiB of %.1f", float64(m.Total-m.Available)/(1<<20), float64(m.Total)/(1<<20))
}
