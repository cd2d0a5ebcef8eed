package install

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/install/certs"
)

func TestParseTarget(t *testing.T) {
	for _, c := range []struct {
		in, user, password string
		want               Target
	}{
		{"root@esxi01.example.com", "", "", Target{Host: "esxi01.example.com", User: "root"}},
		{"https://root:pw@host:8989/sdk", "", "", Target{Host: "host:8989", User: "root", Password: "pw", PasswordSet: true}},
		{"root:p%40w@h", "", "", Target{Host: "h", User: "root", Password: "p@w", PasswordSet: true}},
		{"root:p@w:x@h", "", "", Target{Host: "h", User: "root", Password: "p@w:x", PasswordSet: true}},
		{"root:100%@h", "", "", Target{Host: "h", User: "root", Password: "100%", PasswordSet: true}},
		{"root:a/b@h/DC0", "", "", Target{Host: "h", Datacenter: "DC0", User: "root", Password: "a/b", PasswordSet: true}},
		{"administrator@vsphere.local:pw@vc/f/DC0/", "", "", Target{Host: "vc", Datacenter: "f/DC0", User: "administrator@vsphere.local", Password: "pw", PasswordSet: true}},
		{"administrator@vsphere.local@vc", "", "", Target{Host: "vc", User: "administrator@vsphere.local"}},
		{"root:@h", "", "", Target{Host: "h", User: "root", PasswordSet: true}},
		{"root:pw@h", "other", "x", Target{Host: "h", User: "other", Password: "x", PasswordSet: true}},
		{"[::1]:8989", "root", "", Target{Host: "[::1]:8989", User: "root"}},
	} {
		got, err := ParseTarget(c.in, c.user, c.password)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v %v", c.in, got, err)
		}
	}
	for _, in := range []string{"", "h", "http://root:hush@h", "root:hush@", "root:hush@h:port", "root:hush@h?x", "root:hush@h#f", "ftp://root:hush@h", "root:hush", "root:hush/x", "u:hush@https://y", "root:hush@a b"} {
		_, err := ParseTarget(in, "", "")
		if !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", in, err)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("error shows the password: %v", err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"root:pw@h/DC", "https://a@b:c@d:1/x@y", "://", "a:b:c@[::1]", "%zz:%@h"} {
		f.Add(s, "pw")
	}
	f.Fuzz(func(t *testing.T, s, password string) {
		// Errors never repeat the password; this prefix sets it apart from
		// their own words.
		if strings.ContainsAny(password, "@/") {
			return
		}
		password = "hush" + password
		got, err := ParseTarget("u:"+password+"@"+s, "", "")
		if strings.Contains(s, password) {
			return
		}
		if err != nil && strings.Contains(err.Error(), password) {
			t.Errorf("error shows the password: %v", err)
		}
		if err == nil && got.URL().User != nil {
			t.Errorf("URL with credentials: %v", got.URL())
		}
		if strings.Contains(Redact("u:"+password+"@"+s), password) {
			t.Errorf("redacted text shows the password")
		}
	})
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{"127.0.0.1:8989": true, "127.118.0.1": true, "[::1]:1": true, "localhost": true, "LOCALHOST:3": true, "10.0.0.1": false, "localhost.example.com": false} {
		if got := (Target{Host: host}).Loopback(); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

func TestParseMB(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "512": 512, "4GB": 4096, "4g": 4096, "2 GiB": 2048, "1TB": 1 << 20, "300M": 300, "300mb": 300} {
		if got, err := ParseMB(in); err != nil || got != want {
			t.Errorf("%s: %d %v", in, got, err)
		}
	}
	for _, in := range []string{"", "x", "-1", "1.5GB", "GB", "99999999999999999999", "9999999999TB", "1XB"} {
		if n, err := ParseMB(in); err == nil {
			t.Errorf("%s: %d", in, n)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"VCH001", "a b", "virtual-container-host", "käse"} {
		if err := checkName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 32), "a/b", "a%b", "..", "-x", " x", "x ", "a\nb", "[ds]", "a:b"} {
		if checkName(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

func TestCheckValues(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, []byte(text), 0o600))
		return p
	}
	a, err := certs.SelfSigned("a", []string{"10.0.0.1", "*.example.com"}, time.Now())
	must(t, err)
	b, err := certs.SelfSigned("b", nil, time.Now().Add(-20*365*24*time.Hour))
	must(t, err)
	good := CreateOptions{
		Name: "VCH001", ApplianceISO: file("a.iso", "x"), BootstrapISO: file("b.iso", "x"),
		InsecureRegistries: []string{"registry.lab.test:5000", "10.0.0.0/8"}, RegistryMirrors: []string{"http://registry.lab.test:5000"},
		RegistryCAs:        []string{file("ca.pem", string(a.Cert)+string(a.Cert))},
		DebugAuthorizedKey: file("key.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBmpFYk2S4CbEVrw1UyAyiLYfYQsUQzPwLXdmdJLHWwY x@y\n"),
	}
	f, is := good.checkValues()
	if len(is) > 0 || f.registryCAs == "" || !strings.HasPrefix(f.debugKey, "ssh-ed25519") {
		t.Errorf("%v %+v", is, f)
	}
	for _, c := range []struct {
		edit func(*CreateOptions)
		want string
	}{
		{func(o *CreateOptions) { o.Name = "a/b" }, "--name"},
		{func(o *CreateOptions) { o.ContainerMB = 3 }, "--container-memory 3 is too small"},
		{func(o *CreateOptions) { o.CPUMHz = -1 }, "--cpu"},
		{func(o *CreateOptions) { o.MemoryMB, o.EndpointMB = 600, 1024 }, "--memory a limit of 600"},
		{func(o *CreateOptions) { o.Debug = -1 }, "--debug"},
		{func(o *CreateOptions) { o.BuilderMB = 100 }, "--builder-memory 100 is too small: the minimum is 512"},
		{func(o *CreateOptions) { o.MemoryMB, o.BuilderMB = 4096, 8192 }, "--builder-memory 8192 MB is more than the 4096 MB"},
		{func(o *CreateOptions) { o.BuilderCPUs = -1 }, "--builder-cpus -1: want 1 to 128"},
		{func(o *CreateOptions) { o.BuilderCPUs = 129 }, "--builder-cpus 129: want 1 to 128"},
		{func(o *CreateOptions) { o.RegistryMirrors = []string{"http://u:hush@h"} }, "--registry-mirror"},
		{func(o *CreateOptions) { o.InsecureRegistries = []string{"http://x"} }, "--insecure-registry"},
		{func(o *CreateOptions) { o.RegistryCAs = []string{"/nowhere"} }, "--registry-ca cannot be read"},
		{func(o *CreateOptions) { o.RegistryCAs = []string{o.ApplianceISO} }, "no PEM certificate"},
		{func(o *CreateOptions) { o.RegistryCAs = []string{file("k", string(a.Key))} }, "PRIVATE KEY"},
		{func(o *CreateOptions) { o.DebugAuthorizedKey = o.ApplianceISO }, "--debug-authorized-key"},
		{func(o *CreateOptions) { o.ApplianceISO = "" }, "--appliance-iso is missing"},
		{func(o *CreateOptions) { o.BootstrapISO = file("empty", "") }, "is no ISO image"},
		{func(o *CreateOptions) { o.TLS = TLSOptions{Off: true, CName: "x"} }, "--no-tls"},
		{func(o *CreateOptions) { o.TLS = TLSOptions{CName: "a b"} }, "--tls-cname"},
		{func(o *CreateOptions) { o.TLS = TLSOptions{ServerKey: "x"} }, "belong together"},
		{func(o *CreateOptions) { o.TLS = TLSOptions{ServerKey: "x", ServerCert: "y", CName: "z"} }, "leave it out"},
		{func(o *CreateOptions) {
			o.TLS = TLSOptions{ServerKey: file("bk", string(b.Key)), ServerCert: file("bc", string(b.Cert))}
		}, "expired"},
		{func(o *CreateOptions) {
			o.TLS = TLSOptions{ServerKey: file("bk", string(b.Key)), ServerCert: file("ac", string(a.Cert))}
		}, "--tls-server-cert"},
	} {
		o := good
		c.edit(&o)
		_, is := o.checkValues()
		text := ""
		for _, i := range is {
			text += i.Error() + "\n"
		}
		if len(is) == 0 || !strings.Contains(text, c.want) {
			t.Errorf("want %q, got %q", c.want, text)
		}
		if strings.Contains(text, "hush") {
			t.Errorf("a password is shown: %s", text)
		}
	}
}
