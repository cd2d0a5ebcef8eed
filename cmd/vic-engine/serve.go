package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/admin"
	"github.com/vic-engine/vic/pkg/clock"
	"github.com/vic-engine/vic/pkg/docker/api"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/guestinfo/rpci"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/version"
	"github.com/vic-engine/vic/portlayer"
)

// Engine states as vic-machine reads them from stateKey.
const (
	stateKey      = "guestinfo..engine.state"
	stateStarting = "STARTING"
	stateRunning  = "RUNNING"
	stateFailed   = "FAILED"
)

// shutdownGrace is how long open requests may take once the daemon is told to
// stop; hijacked connections (attach, exec) are cut after it.
const shutdownGrace = 3 * time.Second

type serveOptions struct {
	config, stateDir, rpciSocket     string
	listen, adminListen, concentrate string
	logDir                           string
	setClock                         bool
}

func newCommand() *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:           "vic-engine",
		Short:         "Docker engine of a Virtual Container Host",
		Args:          cobra.NoArgs,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	f := cmd.Flags()
	f.StringVar(&o.config, "config", "/run/vic/vch.json", "configuration of the VCH (JSON)")
	f.StringVar(&o.stateDir, "state-dir", "/var/lib/vic", "scratch space: spool of pulled layers, never anything that must be kept")
	f.StringVar(&o.rpciSocket, "rpci", "/run/vic/rpci.sock", "socket of the guest RPC; without it the state is only logged")
	f.StringVar(&o.listen, "listen", "", "address of the Docker API (default :2376, or :2375 without TLS)")
	f.StringVar(&o.adminListen, "admin-listen", ":2378", "address of the admin page")
	f.StringVar(&o.concentrate, "concentrator-listen", ":8080", "address of the serial concentrator")
	f.StringVar(&o.logDir, "log-dir", "/var/log/vic", "where tether keeps the logs that the admin page shows")
	f.BoolVar(&o.setClock, "set-clock", false, "keep this computer's clock with that of vSphere")
	return cmd
}

// daemon is what run assembles.
type daemon struct {
	opts  serveOptions
	vch   spec.VCH
	log   *logrus.Entry
	state atomic.Value // string
	since time.Time
}

func (o serveOptions) run(ctx context.Context) error {
	vch, err := readConfig(o.config)
	if err != nil {
		return err
	}
	logger := logrus.New()
	logger.SetFormatter(&logrus.TextFormatter{FullTimestamp: true, TimestampFormat: time.RFC3339Nano, DisableColors: true})
	if vch.Debug > 0 {
		logger.SetLevel(logrus.DebugLevel)
	}
	d := &daemon{opts: o, vch: vch, log: logrus.NewEntry(logger), since: time.Now()}
	d.report(stateStarting, "")
	if err := d.serve(ctx); err != nil {
		d.report(stateFailed, err.Error())
		return err
	}
	return nil
}

func readConfig(path string) (spec.VCH, error) {
	var vch spec.VCH
	b, err := os.ReadFile(path)
	if err != nil {
		return vch, fmt.Errorf("configuration of the VCH: %w", err)
	}
	if err := json.Unmarshal(b, &vch); err != nil {
		return vch, fmt.Errorf("configuration of the VCH %s: %w", path, err)
	}
	return vch, nil
}

// report tells vic-machine and the log how the engine is.
func (d *daemon) report(state, why string) {
	d.state.Store(state)
	d.log.WithField("state", state).Info("engine state")
	value := state
	if why != "" {
		value += ": " + why
	}
	c := rpci.Dial(d.opts.rpciSocket)
	defer c.Close()
	if err := c.Set(stateKey, value); err != nil {
		d.log.WithError(err).Warn("no guest RPC: the state is not reported to vSphere")
	}
}

// reportPorts tells operations, and the lab, which ports containers publish.
func (d *daemon) reportPorts(ports []string) error {
	text, err := json.Marshal(ports)
	if err != nil {
		return fmt.Errorf("published ports: %w", err)
	}
	c := rpci.Dial(d.opts.rpciSocket)
	defer c.Close()
	return c.Set(guestinfo.KeyPorts, string(text))
}

// serve assembles the parts, in the order of their needs, and runs them until
// ctx is done or one fails.
func (d *daemon) serve(ctx context.Context) error {
	tlsConfig, err := serverTLS(d.vch)
	if err != nil {
		return err
	}
	boot, err := bootTimeout(d.vch)
	if err != nil {
		return err
	}
	concentrator, err := net.Listen("tcp", d.opts.concentrate)
	if err != nil {
		return fmt.Errorf("serial concentrator: %w", err)
	}
	var own clock.Clock
	if d.opts.setClock {
		own = clock.System()
	}
	ports, err := portlayer.New(portlayer.Config{
		VCH:          d.vch,
		SpoolDir:     filepath.Join(d.opts.stateDir, "spool"),
		Concentrator: concentrator,
		BootTimeout:  boot,
		ReportPorts:  d.reportPorts,
		Clock:        own,
		Log:          d.log,
	})
	if err != nil {
		return errors.Join(err, concentrator.Close())
	}
	registries, err := registryTransport(d.vch)
	if err != nil {
		return errors.Join(err, concentrator.Close())
	}
	eng, err := engine.New(engine.Config{PortLayer: ports, Images: ports.Images(), Networks: ports, Volumes: ports.Volumes(), Policies: ports, Controls: ports, DockerSocket: d.vch.DockerSocket, Log: d.log})
	if err != nil {
		return errors.Join(err, concentrator.Close())
	}
	requests := admin.NewRequests()
	vm, build, err := newBuilder(d.vch, eng, d.log)
	if err != nil {
		return errors.Join(err, concentrator.Close())
	}
	docker, err := api.New(api.Config{
		Engine: eng, Builder: build, Log: d.log, Context: ctx, Version: version.Version,
		Name: d.vch.Name, ID: d.vch.UUID, Debug: d.vch.Debug > 0, KernelVersion: kernelVersion(),
		RegistryMirrors: d.vch.RegistryMirrors, InsecureRegistries: d.vch.InsecureRegistries, RegistryTransport: registries,
		Took: requests.Took,
	})
	if err != nil {
		return errors.Join(err, concentrator.Close())
	}
	page, err := admin.New(admin.Config{
		VCH: d.vch, Version: version.Version, Started: d.since, Log: d.log,
		State:      func() string { return d.state.Load().(string) },
		Containers: ports.Containers,
		Requests:   requests,
		Logs:       map[string]string{"vic-engine.log": filepath.Join(d.opts.logDir, "vic-engine.log")},
	})
	if err != nil {
		return errors.Join(err, concentrator.Close())
	}

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return ports.Run(ctx) })
	g.Go(func() error { return d.listen(ctx, "admin page", d.opts.adminListen, tlsConfig, page) })
	g.Go(func() error {
		// Clients are let in when every container is known again, so that the
		// first `docker ps` after a restart is already right.
		select {
		case <-ports.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		g.Go(func() error { return eng.Run(ctx) })
		select {
		case <-eng.Ready(): // from here on no exit of a container is missed
		case <-ctx.Done():
			return ctx.Err()
		}
		if d.vch.DockerSocket {
			g.Go(func() error { return d.answer(ctx, "Docker API for containers", ports.Relayed(), docker) })
		}
		vm.Idle() // an engine before this one may have left it running
		addr := d.opts.listen
		if addr == "" {
			addr = ":2376"
			if tlsConfig == nil {
				addr = ":2375"
			}
		}
		return d.listen(ctx, "Docker API", addr, tlsConfig, docker, func(string) { d.report(stateRunning, "") })
	})
	err = g.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// listen serves h on addr until ctx is done; ready are called once it listens.
func (d *daemon) listen(ctx context.Context, what, addr string, tc *tls.Config, h http.Handler, ready ...func(addr string)) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if tc != nil {
		l = tls.NewListener(l, tc)
	}
	return d.answer(ctx, what, l, h, ready...)
}

// answer serves h on l, which it closes, until ctx is done.
func (d *daemon) answer(ctx context.Context, what string, l net.Listener, h http.Handler, ready ...func(addr string)) error {
	d.log.WithField("address", l.Addr().String()).Infof("%s listens", what)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: nil, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	for _, f := range ready {
		f(l.Addr().String())
	}
	select {
	case err := <-done:
		return fmt.Errorf("%s: %w", what, err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close() // what is still open is cut
	}
	<-done
	return ctx.Err()
}

// serverTLS is nil when the VCH was installed with --no-tls.
func serverTLS(vch spec.VCH) (*tls.Config, error) {
	if vch.ServerCert == "" {
		return nil, nil
	}
	cert, err := tls.X509KeyPair([]byte(vch.ServerCert), []byte(vch.ServerKey))
	if err != nil {
		return nil, fmt.Errorf("server certificate of the VCH: %w", err)
	}
	tc := &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		// HTTP/1.1 only: attach and exec take over the connection.
		NextProtos: []string{"http/1.1"},
	}
	if vch.ClientCAs != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(vch.ClientCAs)) {
			return nil, errors.New("client CAs of the VCH: no certificate in the PEM text")
		}
		tc.ClientCAs, tc.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	return tc, nil
}

// registryTransport trusts the authorities given for registries besides the
// system's own.
func registryTransport(vch spec.VCH) (http.RoundTripper, error) {
	if vch.RegistryCAs == "" {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM([]byte(vch.RegistryCAs)) {
		return nil, errors.New("registry CAs of the VCH: no certificate in the PEM text")
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

func bootTimeout(vch spec.VCH) (time.Duration, error) {
	if vch.BootTimeout == "" {
		return 0, nil
	}
	t, err := time.ParseDuration(vch.BootTimeout)
	if err != nil {
		return 0, fmt.Errorf("boot timeout of the VCH: %w", err)
	}
	return t, nil
}
