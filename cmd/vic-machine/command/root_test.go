package command

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"

	"github.com/vic-engine/vic/pkg/lab/collector"
)

// call is one run of the command line.
type call struct {
	env   map[string]string
	stdin string
}

func (c call) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Execute(context.Background(), args, Terminal{
		In: strings.NewReader(c.stdin), Out: &out, Err: &errs, Env: func(k string) string { return c.env[k] },
	})
	return out.String(), errs.String(), code
}

// host is a simulated ESXi host and the environment that logs in to it.
func host(t *testing.T) call {
	t.Helper()
	m := simulator.ESX()
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	m.Service.TLS = new(tls.Config)
	m.Service.Listen = &url.URL{User: url.UserPassword("root", "secret")}
	collector.Install(m.Map())
	s := m.Service.NewServer()
	t.Cleanup(s.Close)
	c, err := tls.Dial("tcp", s.URL.Host, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return call{env: map[string]string{
		"VIC_MACHINE_TARGET": s.URL.Host, "VIC_MACHINE_USER": "root", "VIC_MACHINE_PASSWORD": "secret",
		"VIC_MACHINE_THUMBPRINT": soap.ThumbprintSHA256(c.ConnectionState().PeerCertificates[0]),
	}}
}

// inTemp runs the test in an empty folder with two boot images in bin.
func inTemp(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.Mkdir("bin", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"appliance.iso", "bootstrap.iso"} {
		if err := os.WriteFile(filepath.Join("bin", name), []byte("iso"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnknownVerbAndFlag(t *testing.T) {
	for _, args := range [][]string{{"frobnicate"}, {"ls", "--nope=hush"}, {"create", "root:hush@h"}, {"create", "-Xhush"}, {"delete", "-n", "x", "hush"}} {
		stdout, stderr, code := call{}.run(t, args...)
		if code != 1 || !strings.Contains(stdout+stderr, "failed: unknown") {
			t.Errorf("%q: exit %d\n%s%s", args, code, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, "hush") {
			t.Errorf("%q: repeats what may be a password: %s%s", args, stdout, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	stdout, _, code := call{}.run(t, "version")
	if code != 0 || !strings.HasPrefix(stdout, "vic-machine version ") {
		t.Errorf("exit %d: %s", code, stdout)
	}
}
