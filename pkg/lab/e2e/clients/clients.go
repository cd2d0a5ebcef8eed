package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// clientTimeout bounds one client's script: VMs are emulated where there is no KVM.
const clientTimeout = 15 * time.Minute

// client is one that is run.
type client struct {
	name, title string
	// version asks for the version; the first line of its output.
	version []string
	// script is the program with its arguments. $CACHE is .cache/clients, $SCRIPTS
	// testdata, $BIN the folder of what is built here.
	script []string
	env    []string
	// after is a script that looks at what the client left; may be nil.
	after []string
}

const (
	cliVersion     = "29.9.3"
	composeVersion = "v5.6.0"
	python         = "/usr/bin/python3" // Debian's, which has Debian's packages
)

// clients in the order in which they are run. Their versions are those of
// .ci/clients.
func clients() []client {
	const node = "NODE_PATH=$CACHE/node/node_modules"
	nodeVersion := func(p string) []string {
		return []string{"node", "-p", "require('$CACHE/node/node_modules/" + p + "/package.json').version"}
	}
	cli := func(program string) client {
		return client{title: "docker CLI", version: []string{program, "version", "--format", "{{.Client.Version}}"},
			script: []string{"sh", "$SCRIPTS/cli.sh"}, env: []string{"DOCKER=" + program}}
	}
	old, recent := cli("$CACHE/docker-debian/usr/bin/docker"), cli("$CACHE/docker-"+cliVersion)
	old.name, recent.name = "cli-debian", "cli"
	reaped := []string{"sh", "$SCRIPTS/reaped.sh"}
	docker := "DOCKER=$CACHE/docker-" + cliVersion
	return []client{
		old, recent,
		{name: "compose", title: "Docker Compose", version: []string{"$CACHE/docker-compose-" + composeVersion, "version", "--short"},
			script: []string{"sh", "$SCRIPTS/compose.sh"}, env: []string{"COMPOSE=$CACHE/docker-compose-" + composeVersion, "BUILDX=$BIN/docker-buildx"}},
		{name: "buildx", title: "docker buildx", version: []string{"sh", "-c", "$BIN/docker-buildx version | cut -d' ' -f2"},
			script: []string{"sh", "$SCRIPTS/buildx.sh"}, env: []string{docker, "BUILDX=$BIN/docker-buildx"}},
		{name: "docker-py", title: "docker-py", version: []string{python, "-c", "import docker; print(docker.__version__)"},
			script: []string{python, "$SCRIPTS/docker-py.py"}},
		{name: "dockerode", title: "dockerode", version: nodeVersion("dockerode"), script: []string{"node", "$SCRIPTS/dockerode.js"}, env: []string{node}},
		{name: "testcontainers-go", title: "Testcontainers for Go",
			version: []string{"sh", "-c", "go version -m $CACHE/testcontainers-go | awk '$2 ~ /testcontainers-go$/ {print $3}'"},
			script:  []string{"$CACHE/testcontainers-go"}, after: reaped, env: []string{docker}},
		{name: "testcontainers-node", title: "Testcontainers for Node", version: nodeVersion("testcontainers"),
			script: []string{"node", "$SCRIPTS/testcontainers.js"}, after: reaped, env: []string{node, docker}},
	}
}

func names() []string {
	var out []string
	for _, c := range clients() {
		out = append(out, c.name)
	}
	return out
}

func (o options) expand(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.NewReplacer("$CACHE", o.cache, "$SCRIPTS", o.scripts, "$BIN", o.bin).Replace(s)
	}
	return out
}

// run runs a client's script and prints its steps as they end. A script that fails
// without having said which step did is a failed step of its own.
func (c client) run(ctx context.Context, o options, env []string, out io.Writer, t *tally) error {
	ctx, cancel := context.WithTimeout(ctx, clientTimeout)
	defer cancel()
	env = append(env, o.expand(c.env)...)
	args := o.expand(c.version)
	ask := exec.CommandContext(ctx, args[0], args[1:]...)
	ask.Env = env
	text, err := ask.Output()
	if err != nil {
		return fmt.Errorf("%s is not there, or does not tell its version (.ci/clients installs it): %w", c.title, err)
	}
	version, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")

	for _, script := range [][]string{c.script, c.after} {
		if len(script) == 0 {
			continue
		}
		if err := runScript(ctx, o.scripts, o.expand(script), env, out, t, c.title+" "+version); err != nil {
			return fmt.Errorf("%s: %w", c.title, err)
		}
	}
	return nil
}

// runScript runs one script of a client, which is named in the lines.
func runScript(ctx context.Context, dir string, args, env []string, out io.Writer, t *tally, client string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env, cmd.Dir = env, filepath.Dir(dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	failed := t.failed
	before := t.passed + t.failed
	if err := t.read(said, out, client); err != nil {
		return errors.Join(err, cmd.Wait())
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil && t.passed+t.failed == before {
		err = errors.New("it said nothing of any step")
	}
	if err != nil && t.failed == failed {
		return t.fail(out, client, "to its end", fmt.Sprintf("%v: %s", err, oneLine(errs.String())))
	}
	return nil
}
