package command

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/install"
)

func TestCreateFlags(t *testing.T) {
	cmd := newCreate(Terminal{})
	for _, name := range []string{
		"bridge-network", "external-network", "public-network", "image-datastore", "image-store", "target", "name", "user", "password",
		"thumbprint", "force", "timeout", "compute-resource", "tls-cname", "no-tls", "tls-server-key", "tls-server-cert",
		"registry-mirror", "insecure-registry", "registry-ca", "appliance-iso", "bootstrap-iso", "debug", "debug-authorized-key",
		"memory", "cpu", "endpoint-memory", "dry-run", "container-memory", "base-image-size",
		"container-network", "container-network-gateway", "container-network-ip-range", "container-network-dns", "container-network-firewall",
		"policy-file", "tag-labels", "builder-image", "builder-memory", "builder-cpus",
	} {
		if cmd.Flags().Lookup(name) == nil {
			t.Errorf("no flag --%s", name)
		}
	}
	for short, long := range map[string]string{"b": "bridge-network", "i": "image-datastore", "t": "target", "n": "name", "u": "user", "p": "password"} {
		if f := cmd.Flags().ShorthandLookup(short); f == nil || f.Name != long {
			t.Errorf("-%s is not --%s", short, long)
		}
	}
	f := newCreate(Terminal{}).Flags()
	if err := f.Parse([]string{"--public-network", "x", "--image-store", "ds/y", "--memory", "4GB", "--registry-mirror", "a", "--registry-mirror", "b"}); err != nil {
		t.Fatal(err)
	}
	if v := f.Lookup("external-network").Value.String(); v != "x" {
		t.Errorf("--public-network gave %q", v)
	}
	if v := f.Lookup("timeout").DefValue; v != "3m0s" {
		t.Errorf("--timeout defaults to %s", v)
	}
}

func TestCreateRefusal(t *testing.T) {
	inTemp(t)
	c := host(t)
	stdout, _, code := c.run(t, "create", "-n", "VCH001", "--image-datastore", "nostore", "--external-network", "nonet", "--bridge-network", "b")
	if code != 1 {
		t.Fatalf("exit %d\n%s", code, stdout)
	}
	for _, want := range []string{
		"] ### Installing VCH ####\n", "] Generating certificate/key pair - private key in ./VCH001-key.pem\n",
		`--image-datastore "nostore" does not exist - suggested values: LocalDS_0`, `--external-network "nonet" does not exist - suggested values: VM Network`,
		"] --------------------\n", "failed: 2 problems with the configuration\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("output lacks %q:\n%s", want, stdout)
		}
	}
	last := stdout[strings.LastIndexByte(strings.TrimSpace(stdout), '\n')+1:]
	if !regexp.MustCompile(`^ERRO\[\S+Z\] vic-machine-(linux|darwin|windows) create failed: `).MatchString(last) {
		t.Errorf("last line %q", last)
	}
	if _, err := os.Stat("VCH001-key.pem"); err == nil {
		t.Error("the key of a VCH that was not made is left")
	}
}

func TestCreateDryRun(t *testing.T) {
	inTemp(t)
	c := host(t)
	stdout, _, code := c.run(t, "create", "-n", "VCH001", "--dry-run", "--memory", "4GB")
	if code != 0 || !strings.Contains(stdout, "make port group: VCH001") || !strings.Contains(stdout, "make appliance VM: VCH001") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	if strings.Contains(stdout, "secret") {
		t.Error("the password was shown")
	}
}

func TestCreateAsksForPassword(t *testing.T) {
	inTemp(t)
	c := host(t)
	delete(c.env, "VIC_MACHINE_PASSWORD")
	c.stdin = "secret\n"
	stdout, _, code := c.run(t, "create", "-n", "VCH001", "--dry-run")
	if code != 0 || !regexp.MustCompile(`^INFO\[\S+Z\] Please enter ESX or vCenter password:\n`).MatchString(stdout) {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	c.stdin = ""
	if stdout, _, code = c.run(t, "create", "-n", "VCH001", "--dry-run"); code != 1 || !strings.Contains(stdout, "VIC_MACHINE_PASSWORD") {
		t.Errorf("without password: exit %d\n%s", code, stdout)
	}
	c.stdin = "wrong\n"
	if stdout, _, code = c.run(t, "create", "-n", "VCH001", "--dry-run"); code != 1 || !strings.Contains(stdout, `does not accept the user "root"`) {
		t.Errorf("wrong password: exit %d\n%s", code, stdout)
	}
}

func TestPasswordsComeFromTheNearest(t *testing.T) {
	env := Terminal{Env: func(k string) string {
		return map[string]string{"VIC_MACHINE_USER": "eu", "VIC_MACHINE_PASSWORD": "ep", "VIC_MACHINE_TARGET": "eh"}[k]
	}}
	for _, c := range []struct {
		o                targetOptions
		user, pass, host string
	}{
		{targetOptions{}, "eu", "ep", "eh"},
		{targetOptions{target: "tu:tp@th"}, "tu", "tp", "th"},
		{targetOptions{target: "tu@th"}, "tu", "ep", "th"},
		{targetOptions{target: "tu:tp@th", user: "fu", password: "fp"}, "fu", "fp", "th"},
		{targetOptions{user: "fu"}, "fu", "ep", "eh"},
	} {
		got, err := c.o.resolve(env, newLog(nil, 0))
		if err != nil || got.User != c.user || got.Password != c.pass || got.Host != c.host {
			t.Errorf("%+v: %+v %v", c.o, got, err)
		}
	}
	_, err := targetOptions{}.resolve(Terminal{Env: func(string) string { return "" }}, newLog(nil, 0))
	if err == nil || !strings.Contains(install.Plain(err), "--target is missing") {
		t.Errorf("no target: %v", err)
	}
}
