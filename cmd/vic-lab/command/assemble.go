package command

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu"
	"github.com/vic-engine/vic/pkg/lab/vnet"
)

// vmNetwork is the port group with the uplink.
const vmNetwork = "VM Network"

// offLimit is how long guests have for their own power-off at the end.
const offLimit = 15 * time.Second

// serve is the lab itself: it runs until ctx ends, and then powers its VMs off.
func serve(ctx context.Context, t Terminal, o *upOptions) error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	if lab.Running(o.dir) {
		return fmt.Errorf("a lab runs in %s: %w", o.dir, errdefs.ErrConflict)
	}
	logger := logrus.New()
	logger.SetOutput(t.Err)
	if o.debug {
		logger.SetLevel(logrus.DebugLevel)
	}
	log := logrus.NewEntry(logger)

	at, err := take(o)
	if err != nil {
		return err
	}
	defer at.Close()
	net, err := vnet.New(vnet.Config{Plan: at.plan, Dir: o.dir, NoForwards: o.noForwards, Log: log.WithField("part", "network")})
	if err != nil {
		return err
	}
	hv, err := qemu.New(qemu.Config{RunDir: runDir(o.dir, t.Env("XDG_RUNTIME_DIR")), Accel: o.accel, ProbeISO: ifThere(o.probe),
		Network: net, Dial: net.Dial, Log: log.WithField("part", "qemu")})
	if err != nil {
		return err
	}
	defer hv.Close()
	cfg := labConfig(o, at, hv, log.WithField("part", "vsphere"))
	cfg.Published = publisher(net, log.WithField("part", "network"))
	cfg.Security = func(portGroup string, s lab.Security) { net.SetSecurity(portGroup, vnet.Security(s)) }
	l, err := lab.New(cfg)
	if err != nil {
		return err
	}
	// What serves the VMs must outlive them: it ends after the VMs are off. And
	// the lab ends last of all: who sees its lock free may take what it had.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(work)
	room, empty := context.WithCancel(gctx)
	defer empty()
	parts, pctx := errgroup.WithContext(room)
	parts.Go(func() error { return net.Run(pctx) })
	mirror := ""
	if at.registry != nil {
		if mirror, err = runRegistry(pctx, parts, o, at.registry, log.WithField("part", "registry")); err != nil {
			empty()
			return errors.Join(err, ended(parts.Wait()))
		}
	}
	g.Go(func() error {
		defer stop()
		err := parts.Wait()
		hv.Close()
		at.releaseRange()
		_ = os.Remove(filepath.Join(o.dir, pidFile)) // it may not have come to be
		return ended(err)
	})
	g.Go(func() error { return l.Run(gctx) })
	g.Go(func() error {
		select {
		case <-l.Ready():
		case <-gctx.Done():
			return nil
		}
		hv.EndStrays(gctx)
		return announce(t, o, at, l, mirror)
	})
	select {
	case <-ctx.Done():
		log.Info("powering the VMs off")
		off, cancel := context.WithTimeout(work, offLimit)
		l.StopVMs(off)
		cancel()
		empty()
	case <-gctx.Done(): // a part failed
	}
	return ended(g.Wait())
}

// labConfig is the lab that the options describe, at the place that it has.
func labConfig(o *upOptions, at *taken, hv machine.Hypervisor, log *logrus.Entry) lab.Config {
	shown := func(network string, a netip.Addr) netip.Addr {
		if local, ok := at.plan.HostAddress(a); ok && network == vmNetwork && !o.noForwards {
			return local
		}
		return a
	}
	return lab.Config{Mode: lab.Mode(o.mode), StateDir: o.dir, Listener: at.api, Hypervisor: hv, Datastores: o.datastores,
		DatastoreCapacity: o.capacityInB, ManagementIP: at.plan.Host(), ShownAddress: shown, Log: log}
}

// publisher opens on this computer what guests publish.
func publisher(net *vnet.Network, log *logrus.Entry) func(macs []string, text string) {
	return func(macs []string, text string) {
		ports, err := vnet.ParsePorts(text)
		if err != nil { // a guest wrote it
			log.WithError(err).Warn("guest's published ports not forwarded")
		}
		for _, mac := range macs {
			net.Publish(mac, ports)
		}
	}
}

func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// announce leaves word of the lab and tells who waits for it.
func announce(t Terminal, o *upOptions, at *taken, l *lab.Lab, mirror string) error {
	u := l.URL()
	ds := o.datastores
	if len(ds) == 0 {
		ds = []string{"mydatastore", "datastore2"}
	}
	i := info{Mode: o.mode, PID: os.Getpid(), Target: u.Host, URL: u.String(), User: l.User(), Thumbprint: l.Thumbprint(),
		PasswordFile: filepath.Join(o.dir, "password"), EnvFile: filepath.Join(o.dir, envFile), Registry: mirror, Datastores: ds,
		Subnet: at.plan.Subnet().String(), State: o.dir, Log: filepath.Join(o.dir, logFile)}
	if !o.noForwards {
		i.Alias = at.plan.Alias().String()
	}
	err := errors.Join(
		writePrivate(filepath.Join(o.dir, pidFile), []byte(strconv.Itoa(i.PID)+"\n")),
		writePrivate(filepath.Join(o.dir, "known_hosts"), []byte(u.Host+" "+l.Thumbprint()+"\n")),
		writeInfo(i, l.Password()))
	if err != nil {
		return err
	}
	tellReady(t)
	return nil
}

// runDir is where the hypervisor's sockets are. Their paths must be short, so a
// long state directory gets a place elsewhere that stays the same for it.
func runDir(state, runtime string) string {
	dir := filepath.Join(state, "run")
	if len(dir) <= 60 {
		return dir
	}
	sum := sha256.Sum256([]byte(state))
	name := fmt.Sprintf("vic-lab-%d-%x", os.Getuid(), sum[:4])
	if runtime != "" && len(runtime) <= 30 {
		return filepath.Join(runtime, name)
	}
	return filepath.Join(os.TempDir(), name)
}

// ifThere is a file's name, or nothing when there is none.
func ifThere(file string) string {
	if _, err := os.Stat(file); err != nil {
		return ""
	}
	return file
}
