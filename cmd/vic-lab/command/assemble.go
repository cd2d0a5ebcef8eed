package command

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/qemu"
	"github.com/vic-engine/vic/pkg/lab/vnet"
)

// offLimit is how long guests have for their own power-off at the end.
const offLimit = 15 * time.Second

// serve is the lab itself: it runs until ctx ends, and then powers its VMs off.
func serve(ctx context.Context, t Terminal, o *upOptions) error {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	logger := logrus.New()
	logger.SetOutput(t.Err)
	if o.debug {
		logger.SetLevel(logrus.DebugLevel)
	}
	log := logrus.NewEntry(logger)

	net, err := vnet.New(vnet.Config{Dir: o.dir, NoForwards: o.noForwards, Log: log.WithField("part", "network")})
	if err != nil {
		return err
	}
	hv, err := qemu.New(qemu.Config{RunDir: runDir(o.dir, t.Env("XDG_RUNTIME_DIR")), Accel: o.accel, ProbeISO: ifThere(o.probe),
		Network: net, Dial: net.Dial, Log: log.WithField("part", "qemu")})
	if err != nil {
		return err
	}
	defer hv.Close()
	l, err := lab.New(lab.Config{Mode: lab.Mode(o.mode), StateDir: o.dir, Listen: o.listen, Hypervisor: hv,
		Datastores: o.datastores, DatastoreCapacity: o.capacityInB, Log: log.WithField("part", "vsphere")})
	if err != nil {
		return err
	}
	// What serves the VMs must outlive them: it ends after the VMs are off.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(work)
	g.Go(func() error { return net.Run(gctx) })
	mirror := ""
	if !o.noRegistry {
		if mirror, err = runRegistry(gctx, g, o, log.WithField("part", "registry")); err != nil {
			stop()
			return errors.Join(err, ended(g.Wait()))
		}
	}
	g.Go(func() error { return l.Run(gctx) })
	g.Go(func() error {
		select {
		case <-l.Ready():
		case <-gctx.Done():
			return nil
		}
		return announce(t, o, l, mirror)
	})
	select {
	case <-ctx.Done():
		log.Info("powering the VMs off")
		off, cancel := context.WithTimeout(work, offLimit)
		l.StopVMs(off)
		cancel()
	case <-gctx.Done(): // a part failed
	}
	stop()
	err = ended(g.Wait())
	_ = os.Remove(filepath.Join(o.dir, pidFile))
	return err
}

func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// announce leaves word of the lab and tells who waits for it.
func announce(t Terminal, o *upOptions, l *lab.Lab, mirror string) error {
	u := l.URL()
	ds := o.datastores
	if len(ds) == 0 {
		ds = []string{"mydatastore", "datastore2"}
	}
	i := info{Mode: o.mode, PID: os.Getpid(), Target: u.Host, URL: u.String(), User: l.User(), Thumbprint: l.Thumbprint(),
		PasswordFile: filepath.Join(o.dir, "password"), EnvFile: filepath.Join(o.dir, envFile), Registry: mirror, Datastores: ds,
		State: o.dir, Log: filepath.Join(o.dir, logFile)}
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
