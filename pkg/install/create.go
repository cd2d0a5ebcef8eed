package install

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/vsphere"
)

// Env is what the work needs of the computer that it runs on.
type Env struct {
	Log *logrus.Entry
	// Out gets the plan of a dry run.
	Out io.Writer
	// Dir is where certificates go: the working directory.
	Dir string
	// Dial opens the connection by which the new engine is asked.
	Dial Dialer
	// Now is the time by which certificates are made and judged.
	Now func() time.Time
	// DockerCA is the file that a docker client on this computer takes as its
	// CA when none is named. Empty: nothing is said about it.
	DockerCA string
	// Version of vic, kept in the appliance.
	Version string
}

// Create makes a VCH, or nothing: when it fails, what it had made is removed.
// All that is wrong with the options is told at once (InvalidError).
func Create(ctx context.Context, o CreateOptions, env Env) (err error) {
	keep := false
	written := &undoStack{log: env.Log} // certificates
	defer written.unless(ctx, &keep, &err)
	env.Log.Info("### Installing VCH ####")
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()

	files, problems := o.checkValues()
	e, err := prepareEndpoint(o, files, env, written, &problems)
	if err != nil {
		return err
	}
	env.Log.Info("Validating supplied configuration")
	s, target, err := Connect(ctx, o.Target, o.Force, env.Log)
	if err != nil {
		return errors.Join(asError(problems), err)
	}
	o.Target = target
	defer logout(ctx, s, env.Log)
	u := &undoStack{log: env.Log} // on the target: undone before the logout
	defer u.unless(ctx, &keep, &err)
	c, err := validate(ctx, o, s, files, env, problems)
	if err != nil {
		return err
	}
	if err := c.secure(e); err != nil {
		return err
	}
	plan := c.Plan()
	if o.DryRun {
		return PrintPlan(env.Out, plan)
	}
	address, made, err := c.apply(ctx, s, plan, e, env, u)
	if err != nil {
		if c.KeepOnTimeout && made {
			keep = true
			return fmt.Errorf("%w; the appliance is kept (--debug %d): remove it with vic-machine delete", err, o.Debug)
		}
		return err
	}
	report := c.Report(address, e)
	for i, line := range report {
		if hint := e.hint(env.DockerCA); i == len(report)-1 && hint != "" {
			env.Log.Warn(hint)
		}
		env.Log.Info(line)
	}
	return nil
}

// prepareEndpoint makes or loads the certificates, and writes new ones.
func prepareEndpoint(o CreateOptions, f files, env Env, u *undoStack, problems *[]Issue) (Endpoint, error) {
	if checkName(o.Name) != nil || len(o.TLS.check()) > 0 {
		return Endpoint{}, nil // told already, and there is no name to write under
	}
	e, err := o.TLS.endpoint(o.Name, env.Dir, f.server, env.Now())
	var i Issue
	if errors.As(err, &i) {
		*problems = append(*problems, i)
		return e, nil
	}
	if err != nil {
		return e, err
	}
	for _, line := range e.log {
		if e.Off {
			env.Log.Warn(line)
			continue
		}
		env.Log.Info(line)
	}
	if o.DryRun {
		return e, nil
	}
	return e, e.save(u)
}

// validate reads the site and resolves the options against it.
func validate(ctx context.Context, o CreateOptions, s *vsphere.Session, f files, env Env, problems []Issue) (Config, error) {
	site, err := Survey(ctx, s, o.Target.Datacenter)
	if err != nil {
		return Config{}, err
	}
	if err := surveyFolders(ctx, o, s, &site); err != nil {
		return Config{}, err
	}
	c, findings, more := Resolve(o, site, f, uuid.NewString(), env.Version)
	for _, l := range findings {
		if l.Warn {
			env.Log.Warn(l.Text)
			continue
		}
		env.Log.Info(l.Text)
	}
	return c, asError(append(problems, more...))
}

func asError(problems []Issue) error {
	if len(problems) == 0 {
		return nil
	}
	return &InvalidError{Issues: problems}
}

// surveyFolders looks whether the folders that create would make are there.
func surveyFolders(ctx context.Context, o CreateOptions, s *vsphere.Session, site *Site) error {
	name, dir := SplitImageDatastore(o.ImageDatastore)
	if names := site.datastoreNames(); name == "" && len(names) == 1 {
		name = names[0]
	}
	if !has(site.datastoreNames(), name) || site.Datacenter.Ref.Value == "" || checkName(o.Name) != nil {
		return nil // Resolve says so
	}
	ds, err := s.Datastore(ctx, vsphere.DatastoreConfig{Datacenter: site.Datacenter.Path, Name: name})
	if err != nil {
		return err
	}
	if site.HomeExists, err = exists(ctx, ds, o.Name); err != nil || dir == "" {
		return err
	}
	at := ""
	for _, part := range strings.Split(dir, "/") {
		if part == "" || part == "." || part == ".." {
			return nil // Resolve says so
		}
		at = path.Join(at, part)
		there, err := exists(ctx, ds, at)
		if err != nil {
			return err
		}
		if !there {
			site.MissingDir = at
			return nil
		}
	}
	return nil
}

func exists(ctx context.Context, ds *vsphere.Datastore, rel string) (bool, error) {
	_, err := ds.Stat(ctx, ds.Path(rel))
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// secure takes the endpoint's certificates into the configuration and makes the
// engine's key.
func (c *Config) secure(e Endpoint) error {
	c.VCH.ServerCert, c.VCH.ServerKey, c.VCH.ClientCAs = string(e.Server.Cert), string(e.Server.Key), string(e.ClientCAs)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make the engine's key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "vic "+c.VCH.Name)
	if err != nil {
		return fmt.Errorf("write the engine's key: %w", err)
	}
	c.VCH.AttachKey = string(pem.EncodeToMemory(block))
	return nil
}

// apply runs the plan. made tells whether the appliance was running at the end.
func (c Config) apply(ctx context.Context, s *vsphere.Session, plan []Step, e Endpoint, env Env, u *undoStack) (address string, made bool, err error) {
	ds, err := s.Datastore(ctx, vsphere.DatastoreConfig{Datacenter: c.Datacenter.Path, Name: c.Datastore.Name})
	if err != nil {
		return "", false, err
	}
	a := newApplier(c, s, ds, env.Log, u)
	if a.ping, err = e.pinger(env.Dial); err != nil {
		return "", false, err
	}
	err = runSteps(ctx, env.Log, plan, func(ctx context.Context, step Step) error {
		err := a.do(ctx, step)
		made = made || err == nil && step.Action == PowerOn
		return err
	})
	if err != nil && made {
		a.showConsole(ctx)
	}
	return a.state.Address, made, err
}
