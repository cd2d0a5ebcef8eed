package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

type options struct {
	bin, cache, scripts string
	only                []string
	against             bool
}

// errFailed tells that steps failed, which their lines have told already.
var errFailed = errors.New("not every step passed")

func main() {
	var o options
	var only string
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs and boot images")
	flag.StringVar(&o.cache, "cache", filepath.Join(".cache", "clients"), "folder of the clients, as .ci/clients installs them")
	flag.StringVar(&o.scripts, "scripts", filepath.Join("pkg", "lab", "e2e", "clients", "testdata"), "folder of the clients' scripts")
	flag.StringVar(&only, "only", "", "clients to run, with commas between them (default all: "+strings.Join(names(), ",")+")")
	flag.BoolVar(&o.against, "against", false, "use the engine of DOCKER_HOST, DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, and start no lab")
	flag.Parse()
	o.only = strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(os.Stderr, "clients:", err)
		}
		os.Exit(1)
	}
}

// run runs the clients that were chosen and prints to out how each step went.
func run(ctx context.Context, o options, out, progress io.Writer) (err error) {
	for _, name := range o.only {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("-only %s: want one of %s", name, strings.Join(names(), ", "))
		}
	}
	for _, dir := range []*string{&o.bin, &o.cache, &o.scripts} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return err
		}
	}
	env := slices.DeleteFunc(os.Environ(), trusts)
	if !o.against {
		l, err := newLab(ctx, o.bin, progress)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.close(context.WithoutCancel(ctx))) }()
		env = append(env, l.env...)
	}
	return runAll(ctx, o, env, out)
}

// trusts tells variables that name certificates of this computer's own: to some
// clients they say more than the engine's.
func trusts(variable string) bool {
	return slices.ContainsFunc([]string{"REQUESTS_CA_BUNDLE=", "CURL_CA_BUNDLE=", "SSL_CERT_FILE=", "SSL_CERT_DIR=", "NODE_EXTRA_CA_CERTS="},
		func(name string) bool { return strings.HasPrefix(variable, name) })
}

func runAll(ctx context.Context, o options, env []string, out io.Writer) error {
	home, err := os.MkdirTemp("", "vicc")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	var t tally
	for _, c := range clients() {
		if len(o.only) > 0 && !slices.Contains(o.only, c.name) {
			continue
		}
		if err := c.run(ctx, o, append(env, "HOME="+home, "DOCKER_CONFIG="+home), out, &t); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "%d passed, %d failed\n", t.passed, t.failed); err != nil {
		return err
	}
	if t.failed > 0 || t.passed == 0 {
		return errFailed
	}
	return nil
}
