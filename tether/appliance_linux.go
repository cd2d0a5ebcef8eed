package tether

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/guestinfo/rpci"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/proc"
	"github.com/vic-engine/vic/tether/system"
)

// The appliance's places.
const (
	stateDir    = "/var/lib/vic"
	logDir      = stateDir + "/log"
	sealKeyFile = stateDir + "/seal.key"
	vchFile     = "/run/vic/vch.json"
	engineFile  = "/usr/bin/vic-engine"
	engineLog   = logDir + "/vic-engine.log"
	// scratchUnit is the appliance's own disk, scsi0:0.
	scratchUnit = 0
)

// engineGrace is how long vic-engine has to end before the appliance powers off.
const engineGrace = 10 * time.Second

// Appliance is the VCH appliance while it boots and runs.
type Appliance struct {
	*VM
	vch        spec.VCH // secrets sealed until the step that unseals them
	key        guestinfo.PrivateKey
	nics       nics
	supervised *supervisor
}

// bootAppliance runs the appliance until somebody asks it to stop. When a step
// fails it stays up, with networks and debugging as far as they got: an
// administrator cannot look into a VM that is off.
func bootAppliance(ctx context.Context, a *Appliance) error {
	ctx, cancel := context.WithCancel(ctx)
	a.goes(func() {
		<-a.end.asked
		cancel()
	})
	err := run(ctx, a, applianceSteps(), a.log)
	a.settle()
	switch {
	case err == nil:
		a.log.Info("appliance is up")
		a.showMemory()
	case ctx.Err() == nil:
		a.log.WithError(err).Error("boot failed; the appliance stays up for debugging")
		_ = a.rpc.Set(guestinfo.KeyTetherState, "FAILED: "+err.Error())
		_ = a.rpc.Set(guestinfo.KeyEngineState, "FAILED: appliance: "+err.Error())
		if err := a.debugging(ctx); err != nil {
			a.log.WithError(err).Warn("no debugging")
		}
	}
	<-a.end.asked
	return a.shutDown()
}

func (a *Appliance) shutDown() error {
	a.log.Info("asked to stop")
	if a.supervised != nil {
		a.supervised.stop(engineGrace)
	}
	killAll()
	system.Sync()
	if err := system.Unmount(stateDir); err != nil {
		a.log.WithError(err).Warn("scratch disk not unmounted")
	}
	return a.powerOff()
}

func (a *Appliance) configuration(context.Context) (err error) {
	if a.vch, err = guestinfo.DecodeVCH(a.get); err != nil {
		return err
	}
	a.log.WithField(spec.FieldVCH, a.vch.UUID).WithField("name", a.vch.Name).Info("appliance")
	_ = a.rpc.Set(guestinfo.KeyTetherState, "")
	return a.rpc.Set(guestinfo.KeyEngineState, "STARTING")
}

func (a *Appliance) hostname(context.Context) error {
	if err := system.Loopback(); err != nil {
		return err
	}
	return system.Hostname(applianceHostname(a.vch.Name))
}

func (a *Appliance) networks(ctx context.Context) error {
	a.nics.log, a.nics.hostname, a.nics.changed = a.log, applianceHostname(a.vch.Name), a.reportAddresses
	if err := a.nics.up(ctx, roleConfigs(a.vch.Networks), a.goes); err != nil {
		return err
	}
	return writeResolvConf(&a.nics, a.nics.hostname)
}

// addresses waits a while for DHCP. Without an address the appliance boots on:
// the lease may still come.
func (a *Appliance) addresses(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, addressWait)
	defer cancel()
	if err := a.nics.wait(wait); err != nil {
		a.log.WithError(err).Warn("booting on without it")
	}
	a.reportAddresses()
	return ctx.Err()
}

func (a *Appliance) reportAddresses() {
	if err := writeResolvConf(&a.nics, a.nics.hostname); err != nil {
		a.log.WithError(err).Warn("resolv.conf not written")
	}
	for role, cidr := range a.nics.byName() {
		if err := a.rpc.Set(guestinfo.AssignedIPKey(role), cidr); err != nil {
			a.log.WithError(err).Warn("address not reported")
		}
	}
	a.tell()
}

func (a *Appliance) startTools(ctx context.Context) error {
	a.goes(func() { a.runTools(ctx, "vSphere will not show an address") })
	return nil
}

// scratch mounts the appliance's own disk, formatting it if it is blank.
func (a *Appliance) scratch(ctx context.Context) error {
	bus, err := system.PVSCSI()
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeout(ctx, diskWait)
	defer cancel()
	dev, err := bus.Disk(wait, scratchUnit)
	if err != nil {
		return err
	}
	formatted, err := system.Ext4(dev)
	if err != nil {
		return err
	}
	if formatted {
		// -p repairs what is safe; its status says more only to a person.
		if out, err := proc.Output(ctx, a.reaper, "/sbin/e2fsck", "-p", dev); err != nil {
			a.log.WithError(err).Warnf("check of the scratch disk: %s", out)
		}
	} else if err := a.format(ctx, dev); err != nil {
		return err
	}
	if err := (system.Mount{Source: dev, Target: stateDir, Type: "ext4", Data: system.Ext4Idle}).Do(); err != nil {
		return err
	}
	return os.MkdirAll(logDir, 0o755)
}

func (a *Appliance) format(ctx context.Context, dev string) error {
	blank, err := system.Blank(dev)
	if err != nil {
		return err
	}
	if !blank {
		return fmt.Errorf("the disk scsi0:%d is neither blank nor ext4: it will not be formatted", scratchUnit)
	}
	a.log.Info("formatting the scratch disk")
	out, err := proc.Output(ctx, a.reaper, "/sbin/mkfs.ext4", "-q", "-F", "-L", "vic-scratch", "-m", "1",
		"-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", dev)
	if err != nil {
		return fmt.Errorf("format the scratch disk: %w: %s", err, out)
	}
	return nil
}

// sealKey makes the appliance's key at first boot and publishes its public half.
func (a *Appliance) sealKey(context.Context) error {
	text, err := os.ReadFile(sealKeyFile)
	switch {
	case err == nil:
		if a.key, err = guestinfo.ParsePrivateKey(string(text)); err != nil {
			return fmt.Errorf("%s: %w", sealKeyFile, err)
		}
	case errors.Is(err, os.ErrNotExist):
		if a.key, err = guestinfo.GenerateSealKey(); err != nil {
			return err
		}
		if err := writeSecret(sealKeyFile, []byte(a.key.Text())); err != nil {
			return err
		}
	default:
		return err
	}
	return a.rpc.Set(guestinfo.KeySealKey, a.key.Public().String())
}

// writeSecret writes a file that only root reads, whole or not at all, on disk
// when it returns.
func writeSecret(name string, data []byte) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(name+".new", name)
}

// serveRPC lets vic-engine reach the hypervisor: only PID 1 holds the channel.
func (a *Appliance) serveRPC(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Dir(rpci.SocketPath), 0o755); err != nil {
		return err
	}
	l, err := net.Listen("unix", rpci.SocketPath)
	if err != nil {
		return fmt.Errorf("guest RPC socket: %w", err)
	}
	if err := os.Chmod(rpci.SocketPath, 0o600); err != nil {
		return err
	}
	a.goes(func() {
		if err := rpci.Serve(ctx, l, a.rpc, a.log); err != nil {
			a.log.WithError(err).Error("guest RPC for others ended")
		}
	})
	return nil
}

func (a *Appliance) forwarding(context.Context) error {
	return system.Sysctl("net.ipv4.ip_forward", "1")
}

func (a *Appliance) debugging(ctx context.Context) error {
	if a.vch.DebugKey == "" {
		return nil
	}
	return serveDebugging(ctx, a.VM, a.vch.DebugKey)
}

// secretsEvery is how often the configuration is looked at while secrets are
// missing: vic-machine writes them after it has seen the seal key. Nothing tells
// a guest of a changed key, so this is a poll.
const secretsEvery = 250 * time.Millisecond

// secretsSay is how often the console says what is waited for.
const secretsSay = 30 * time.Second

// secrets waits until all of them are there and can be unsealed, and leaves the
// whole configuration for vic-engine.
func (a *Appliance) secrets(ctx context.Context) error {
	tick := time.NewTicker(secretsEvery)
	defer tick.Stop()
	var said time.Time
	var last string
	for {
		clear, why, err := a.unseal()
		if err != nil {
			return err
		}
		if why == "" {
			data, err := json.Marshal(clear)
			if err != nil {
				return err
			}
			return writeSecret(vchFile, data)
		}
		if why != last || time.Since(said) > secretsSay {
			a.log.Infof("waiting for secrets from vic-machine: %s", why)
			last, said = why, time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// unseal reads the secrets as they are now; why says what is not there yet. A
// secret that was sealed for another appliance's key counts as missing:
// vic-machine may write it anew.
func (a *Appliance) unseal() (v spec.VCH, why string, err error) {
	v = a.vch
	for _, s := range []struct {
		key   string
		value *string
	}{{guestinfo.KeyPassword, &v.Password}, {guestinfo.KeyServerKey, &v.ServerKey}, {guestinfo.KeyAttachKey, &v.AttachKey}} {
		if *s.value, _, err = a.rpc.Get(s.key); err != nil {
			return v, "", err
		}
	}
	if missing := guestinfo.MissingSecrets(v); len(missing) > 0 {
		return v, fmt.Sprint(missing), nil
	}
	clear, err := guestinfo.UnsealVCH(v, a.key)
	if err != nil {
		return v, err.Error(), nil
	}
	return clear, "", nil
}

// engineMemory is the soft limit of vic-engine's Go heap in a VM of total bytes:
// the kernel, tether and the cache of the scratch disk need the rest.
func engineMemory(total int64) int64 { return max(total/2, total-(384<<20)) }

func (a *Appliance) engine(ctx context.Context) error {
	out, err := openLog(engineLog, maxEngineLog)
	if err != nil {
		return err
	}
	memory, err := system.ReadMemory()
	if err != nil {
		return err
	}
	a.supervised = newSupervisor(a.VM, spec.Process{
		Path: engineFile,
		Args: []string{"--config", vchFile, "--set-clock"},
		Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
			fmt.Sprintf("GOMEMLIMIT=%d", engineMemory(memory.Total))},
		Dir: "/",
		// It configures links, addresses and filters.
		Privileged: true,
	}, out)
	a.goes(func() { a.supervised.run(ctx) })
	return nil
}

// roleConfigs are the appliance's NICs: one for each MAC, with all roles on it.
// The external network's default route wins. The bridge is the engine's to
// address, so it gets no DHCP.
func roleConfigs(networks map[string]spec.VCHNetwork) []nicConfig {
	order := []string{"external", "client", "management", "bridge"}
	var names []string
	for name := range networks {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		ia, ib := slices.Index(order, a), slices.Index(order, b)
		if ia < 0 {
			ia = len(order)
		}
		if ib < 0 {
			ib = len(order)
		}
		if ia != ib {
			return ia - ib
		}
		if a < b {
			return -1
		}
		return 1
	})
	var list []nicConfig
	at := map[string]int{}
	for _, name := range names {
		n := networks[name]
		i, ok := at[n.MAC]
		if !ok {
			i = len(list)
			at[n.MAC] = i
			list = append(list, nicConfig{MAC: n.MAC, Metric: 100 * i})
		}
		c := &list[i]
		c.Names = append(c.Names, name)
		if c.IP == "" {
			c.IP, c.Gateway, c.DNS = n.IP, n.Gateway, n.DNS
		}
		c.DHCP = c.IP == "" && (c.DHCP || name != "bridge")
	}
	return list
}
