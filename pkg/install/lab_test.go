package install

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// labGuests is a hypervisor whose VMs are goroutines that behave like an
// appliance: they see what a real guest sees, through machine.Guest alone.
type labGuests struct {
	mu      sync.Mutex // guards all below
	fail    error
	address string // of the last engine
	secrets spec.VCH
	started []machine.Machine
}

var (
	_ machine.Hypervisor = (*labGuests)(nil)
	_ machine.Instance   = (*labGuest)(nil)
)

type labGuest struct {
	h    *labGuests
	m    machine.Machine
	g    machine.Guest
	once sync.Once
	done chan struct{}
}

func (h *labGuests) Start(_ context.Context, m machine.Machine, g machine.Guest) (machine.Instance, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started = append(h.started, m)
	if h.fail != nil {
		return nil, h.fail
	}
	v := &labGuest{h: h, m: m, g: g, done: make(chan struct{})}
	go v.run()
	return v, nil
}

func (h *labGuests) Adopt(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, errdefs.ErrNotFound
}

// run boots, asks for secrets and serves the Docker API's ping.
func (v *labGuest) run() {
	key, err := guestinfo.GenerateSealKey()
	if err == nil {
		err = v.g.InfoSet(guestinfo.KeySealKey, key.Public().String())
	}
	if err != nil {
		panic(err)
	}
	v.g.Tools(true)
	v.g.Addresses([]machine.GuestNIC{
		{MAC: v.m.NICs[1].MAC, Addresses: []string{"172.16.0.1/16"}},
		{MAC: v.m.NICs[0].MAC, Addresses: []string{"fe80::1/64", "10.118.0.10/24"}},
	})
	t := time.NewTicker(5 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-v.done:
			return
		case <-t.C:
		}
		cfg, err := guestinfo.DecodeVCH(func(k string) (string, bool, error) {
			s, ok := v.g.InfoGet(k)
			return s, ok, nil
		})
		if err != nil || len(guestinfo.MissingSecrets(cfg)) > 0 {
			continue
		}
		if cfg, err = guestinfo.UnsealVCH(cfg, key); err != nil {
			panic(err)
		}
		pair, err := tls.X509KeyPair([]byte(cfg.ServerCert), []byte(cfg.ServerKey))
		if err != nil {
			panic(err)
		}
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") }))
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.StartTLS()
		defer srv.Close()
		v.h.mu.Lock()
		v.h.address, v.h.secrets = srv.Listener.Addr().String(), cfg
		v.h.mu.Unlock()
		if err := v.g.InfoSet(guestinfo.KeyEngineState, engineRunning); err != nil {
			panic(err)
		}
		<-v.done
		return
	}
}

func (v *labGuest) PID() int                      { return 1 }
func (v *labGuest) Done() <-chan struct{}         { return v.done }
func (v *labGuest) Err() error                    { return nil }
func (v *labGuest) Kill()                         { v.once.Do(func() { close(v.done) }) }
func (v *labGuest) Reset() error                  { return errors.New("no reset") }
func (v *labGuest) ShutdownGuest() error          { v.Kill(); return nil }
func (v *labGuest) RebootGuest() error            { return errors.New("no reboot") }
func (v *labGuest) Usage() (machine.Usage, error) { return machine.Usage{}, nil }

func TestOnTheLab(t *testing.T) {
	for _, mode := range []lab.Mode{lab.ModeESXi, lab.ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) { onTheLab(t, mode) })
	}
}

func onTheLab(t *testing.T, mode lab.Mode) {
	ctx, cancel := context.WithCancel(context.Background())
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	guests := &labGuests{}
	state, work := t.TempDir(), t.TempDir()
	l, err := lab.New(lab.Config{Mode: mode, StateDir: state, Listen: "127.0.0.1:0", Hypervisor: guests, Log: logrus.NewEntry(quiet)})
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-l.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	s, err := vsphere.Dial(ctx, vsphere.Config{URL: l.URL().String(), User: l.User(), Password: l.Password(), Thumbprint: l.Thumbprint()})
	must(t, err)
	t.Cleanup(func() { _ = s.Logout(ctx) })
	world := func() string {
		return worldOf(t, s, map[string]string{"datastores": filepath.Join(state, "datastores"), "work": work})
	}

	for _, iso := range []string{applianceISO, bootstrapISO} {
		must(t, os.WriteFile(filepath.Join(work, iso), []byte(iso), 0o600))
	}
	var out bytes.Buffer
	log := logrus.New()
	log.SetOutput(&out)
	log.SetFormatter(Formatter{})
	env := Env{Log: logrus.NewEntry(log), Out: &out, Dir: work, Now: time.Now, Version: "1.2.3",
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			guests.mu.Lock()
			to := guests.address
			guests.mu.Unlock()
			if address != "127.118.0.10:2376" {
				t.Errorf("dialled %s", address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, to)
		}}
	o := CreateOptions{
		Target: Target{Host: l.URL().Host, User: l.User(), Password: l.Password(), Thumbprint: l.Thumbprint()}, Timeout: 30 * time.Second,
		Name: "VCH001", BridgeNetwork: "VCH Bridge", ExternalNetwork: "VM Network", ImageDatastore: "mydatastore",
		ApplianceISO: filepath.Join(work, applianceISO), BootstrapISO: filepath.Join(work, bootstrapISO),
	}
	before := world()
	o.TagLabels = []string{"tier", "app", "zone"}
	if mode == lab.ModeESXi {
		if err := Create(ctx, o, env); err == nil || !strings.Contains(err.Error(), "--tag-labels") {
			t.Errorf("tags on ESXi: %v", err)
		}
		o.TagLabels = nil
	}

	fail := func(err error) {
		guests.mu.Lock()
		guests.fail = err
		guests.mu.Unlock()
	}
	fail(errors.New("the VM does not start"))
	if err := Create(ctx, o, env); err == nil || !strings.Contains(err.Error(), "power on appliance VCH001") {
		t.Errorf("create with a VM that does not start: %v", err)
	}
	if d := cmp.Diff(before, world()); d != "" {
		t.Errorf("the failed create left a trace:\n%s", d)
	}
	fail(nil)
	out.Reset()

	must(t, Create(ctx, o, env))
	vmx, err := os.ReadFile(filepath.Join(state, "datastores", "mydatastore", "VCH001", "VCH001.vmx"))
	must(t, err)
	for _, want := range []string{
		`(?m)^ide0:0.deviceType = "cdrom-image"$`, `(?m)^ide0:0.fileName = "appliance.iso"$`,
		`(?m)^ethernet0.virtualDev = "vmxnet3"$`, `(?m)^ethernet0.pciSlotNumber = "192"$`, `(?m)^ethernet1.pciSlotNumber = "224"$`, `(?m)^ethernet1.uptCompatibility = "TRUE"$`,
		`(?m)^ethernet0.networkName = "VM Network"$`, `(?m)^ethernet1.networkName = "VCH Bridge"$`,
		`(?m)^scsi0.virtualDev = "pvscsi"$`, `(?m)^scsi0:0.fileName = "VCH001.vmdk"$`, `(?m)^guestinfo./kind = "appliance"$`,
	} {
		if strings.Contains(want, "networkName") && mode != lab.ModeESXi {
			continue // a distributed port group has an id there
		}
		if !regexp.MustCompile(want).Match(vmx) {
			t.Errorf("the .vmx has no line %s:\n%s", want, vmx)
		}
	}
	if bytes.Contains(vmx, []byte(l.Password())) || bytes.Contains(vmx, []byte("PRIVATE KEY")) || strings.Contains(out.String(), l.Password()) {
		t.Error("a secret is in clear in the .vmx or the output")
	}
	if v := guests.secrets; v.Password != l.Password() || v.Target != "https://10.118.0.2:"+l.URL().Port()+"/sdk" {
		t.Errorf("the appliance was told password %q and target %s", v.Password, v.Target)
	}
	list, err := Ls(ctx, ReadOptions{Target: o.Target, Timeout: time.Minute}, env.Log)
	if err != nil || len(list) != 1 || list[0].Name != "VCH001" || list[0].Status != "Running" || list[0].DockerHost != "127.118.0.10:2376" {
		t.Errorf("ls: %+v %v", list, err)
	}
	if mode == lab.ModeVCenter {
		makeTags(ctx, t, s.Tags(), guests.secrets.UUID, list[0].VM)
	}
	must(t, Delete(ctx, DeleteOptions{Target: o.Target, Name: "VCH001", Timeout: 30 * time.Second}, env))
	if mode == lab.ModeVCenter {
		if got, want := tagsOf(ctx, t, s.Tags()), "vic.label.app: used\nvic.label.zone: another"; got != want {
			t.Errorf("tags after delete: %s, want %s", got, want)
		}
	}
	for _, name := range []string{"VCH001-key.pem", "VCH001-cert.pem"} {
		must(t, os.Remove(filepath.Join(work, name)))
	}
	if d := cmp.Diff(before, world()); d != "" {
		t.Errorf("create and delete left a trace:\n%s", d)
	}

	if mode == lab.ModeESXi { // the bridge is made when it is not there
		o.BridgeNetwork = ""
		must(t, Create(ctx, o, env))
		if !strings.Contains(world(), "switch VCH001 [key-vim.host.PortGroup-VCH001]") {
			t.Errorf("no switch was made:\n%s", world())
		}
		must(t, Delete(ctx, DeleteOptions{Target: o.Target, Name: "VCH001", Timeout: 30 * time.Second}, env))
		if d := cmp.Diff(before, strings.NewReplacer("work /VCH001-cert.pem\n", "", "work /VCH001-key.pem\n", "").Replace(world())); d != "" {
			t.Errorf("create and delete left a trace:\n%s", d)
		}
	}
}
