package install

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/collector"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

const testPassword = "s3cr!t|pass"

// fixture is a simulated vSphere with one datastore and the article's networks,
// and a guest that plays every appliance which is powered on.
type fixture struct {
	t     *testing.T
	model *simulator.Model
	srv   *simulator.Server
	ds    string // the datastore's directory
	s     *vsphere.Session
	guest *fakeGuest
	work  string // working directory with certificates
	out   bytes.Buffer
}

func newFixture(t *testing.T, esx bool) *fixture {
	t.Helper()
	ctx := context.Background()
	f := &fixture{t: t, model: simulator.VPX(), ds: t.TempDir(), work: t.TempDir()}
	if esx {
		f.model = simulator.ESX()
	}
	f.model.Datastore, f.model.Machine = 0, 0
	if !esx {
		f.model.Host = 0
	}
	must(t, f.model.Create())
	t.Cleanup(f.model.Remove)
	f.model.Service.TLS = new(tls.Config)
	f.model.Service.Listen = &url.URL{User: url.UserPassword("root", testPassword)}
	collector.Install(f.model.Map())
	f.srv = f.model.Service.NewServer()
	t.Cleanup(f.srv.Close)
	cfg := vsphere.Config{URL: f.srv.URL.String(), User: "root", Password: testPassword, Insecure: true}
	s, err := vsphere.Dial(ctx, cfg)
	must(t, err)
	f.s = s
	t.Cleanup(func() { _ = s.Logout(context.Background()) })
	finder := find.NewFinder(s.Client())
	dc, err := finder.DefaultDatacenter(ctx)
	must(t, err)
	finder.SetDatacenter(dc)
	hosts, err := finder.HostSystemList(ctx, "*/*")
	must(t, err)
	for _, h := range hosts {
		dss, err := h.ConfigManager().DatastoreSystem(ctx)
		must(t, err)
		_, err = dss.CreateLocalDatastore(ctx, "mydatastore", f.ds)
		must(t, err)
	}
	if esx {
		ns, err := hosts[0].ConfigManager().NetworkSystem(ctx)
		must(t, err)
		must(t, ns.AddVirtualSwitch(ctx, "bridge0", nil))
		must(t, ns.AddPortGroup(ctx, types.HostPortGroupSpec{Name: "VCH Bridge", VswitchName: "bridge0"}))
	} else {
		settings := object.NewOptionManager(s.Client(), *s.Client().ServiceContent.Setting)
		must(t, settings.Update(ctx, []types.BaseOptionValue{&types.OptionValue{Key: "VirtualCenter.ManagedIP", Value: "10.118.0.2"}}))
		n, err := finder.Network(ctx, "DVS0")
		must(t, err)
		dvs := object.NewDistributedVirtualSwitch(s.Client(), n.Reference())
		var add []types.DVPortgroupConfigSpec
		for _, name := range []string{"VM Network DV", "VCH Bridge"} {
			add = append(add, types.DVPortgroupConfigSpec{Name: name, NumPorts: 8, Type: string(types.DistributedVirtualPortgroupPortgroupTypeEarlyBinding)})
		}
		task, err := dvs.AddPortgroup(ctx, add)
		must(t, err)
		must(t, task.Wait(ctx))
	}
	for _, iso := range []string{applianceISO, bootstrapISO} {
		must(t, os.WriteFile(filepath.Join(f.work, iso), []byte("an image called "+iso), 0o600))
	}
	f.guest = newFakeGuest(f)
	return f
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) env() Env {
	l := logrus.New()
	l.SetOutput(&f.out)
	l.SetFormatter(Formatter{})
	l.SetLevel(logrus.InfoLevel)
	return Env{Log: logrus.NewEntry(l), Out: &f.out, Dir: f.work, Now: time.Now, Dial: f.guest.dial, Version: "1.2.3"}
}

// envUntil calls then when a line of the log, or of what --debug adds to it, has text.
func (f *fixture) envUntil(text string, then func()) Env {
	env := f.env()
	env.Log.Logger.SetLevel(logrus.DebugLevel)
	env.Log.Logger.AddHook(onLine{text, then})
	return env
}

type onLine struct {
	text string
	then func()
}

func (onLine) Levels() []logrus.Level { return logrus.AllLevels }

func (o onLine) Fire(e *logrus.Entry) error {
	if strings.Contains(e.Message, o.text) {
		o.then()
	}
	return nil
}

func (f *fixture) target() Target {
	return Target{Host: f.srv.URL.Host, User: "root", Password: testPassword, PasswordSet: true, Thumbprint: f.thumbprint()}
}

func (f *fixture) thumbprint() string {
	c, err := tls.Dial("tcp", f.srv.URL.Host, &tls.Config{InsecureSkipVerify: true})
	must(f.t, err)
	defer c.Close()
	return soap.ThumbprintSHA256(c.ConnectionState().PeerCertificates[0])
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

func (f *fixture) create() CreateOptions {
	o := CreateOptions{
		Target: f.target(), Timeout: patience, Name: "VCH001",
		BridgeNetwork: "VCH Bridge", ExternalNetwork: "VM Network", ImageDatastore: "mydatastore",
		ApplianceISO: filepath.Join(f.work, applianceISO), BootstrapISO: filepath.Join(f.work, bootstrapISO),
	}
	if f.s.IsVC() {
		o.ExternalNetwork = "VM Network DV"
	}
	return o
}

func (f *fixture) delete() DeleteOptions {
	return DeleteOptions{Target: f.target(), Name: "VCH001", Timeout: patience}
}

var stamps = regexp.MustCompile(`(?m)^([A-Z]{4})\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\] `)

// lines gives the log so far without times, and empties it.
func (f *fixture) lines() string {
	s := stamps.ReplaceAllString(f.out.String(), "$1 ")
	f.out.Reset()
	return s
}

// world is everything that create and delete may leave a trace in.
func (f *fixture) world() string {
	f.t.Helper()
	return worldOf(f.t, f.s, map[string]string{"datastore": f.ds, "work": f.work})
}

func worldOf(t *testing.T, s *vsphere.Session, dirs map[string]string) string {
	t.Helper()
	ctx := context.Background()
	var out []string
	cv, err := view.NewManager(s.Client()).CreateContainerView(ctx, s.Client().ServiceContent.RootFolder, []string{"ManagedEntity"}, true)
	must(t, err)
	defer func() { _ = cv.Destroy(ctx) }()
	var list []mo.ManagedEntity
	must(t, cv.Retrieve(ctx, []string{"ManagedEntity"}, []string{"name"}, &list))
	for _, e := range list {
		p, err := find.InventoryPath(ctx, s.Client(), e.Self)
		must(t, err)
		out = append(out, e.Self.Type+" "+p)
	}
	if !s.IsVC() {
		h, err := find.NewFinder(s.Client()).DefaultHostSystem(ctx)
		must(t, err)
		ns, err := h.ConfigManager().NetworkSystem(ctx)
		must(t, err)
		var m mo.HostNetworkSystem
		must(t, property.DefaultCollector(s.Client()).RetrieveOne(ctx, ns.Reference(), []string{"networkInfo"}, &m))
		for _, sw := range m.NetworkInfo.Vswitch {
			out = append(out, fmt.Sprintf("switch %s %v", sw.Name, sw.Portgroup))
		}
	}
	for name, dir := range dirs {
		must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err == nil {
				out = append(out, name+" "+strings.TrimPrefix(p, dir))
			}
			return err
		}))
	}
	sort.Strings(out)
	return strings.Join(out, "\n") + "\n"
}

// fail makes every call of a method fail until the test ends.
func (f *fixture) fail(method string) {
	f.model.Service.AddFaultRule(&simulator.FaultInjectionRule{
		MethodName: method, ObjectType: "*", ObjectName: "*", Probability: 1, Enabled: true, MaxCount: 1,
		FaultType: simulator.FaultTypeCustom, Fault: &types.SystemError{Reason: "injected"}, Message: "injected",
	})
}

// fakeGuest plays the guest of every appliance: it reports an address and a
// seal key, waits for the secrets, and serves /_ping with what it unsealed.
type fakeGuest struct {
	f    *fixture
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex // guards what is below
	played  map[string]bool
	keys    map[string]guestinfo.PrivateKey // the appliances' scratch disks
	servers []*httptest.Server
	addr    string   // of the server that answers for the appliance
	secrets spec.VCH // as unsealed
	// what goes wrong
	silent, noIP, off, wrongCert bool
	engine                       string
	failsLeft                    int // see supervise
	turned                       time.Time
}

func newFakeGuest(f *fixture) *fakeGuest {
	g := &fakeGuest{f: f, stop: make(chan struct{}), played: map[string]bool{}, keys: map[string]guestinfo.PrivateKey{}, engine: engineRunning}
	g.done.Add(1)
	go func() {
		defer g.done.Done()
		t := time.NewTicker(5 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-g.stop:
				return
			case <-t.C:
				g.look()
			}
		}
	}()
	f.t.Cleanup(func() {
		close(g.stop)
		g.done.Wait()
		for _, s := range g.servers {
			s.Close()
		}
	})
	return g
}

func (g *fakeGuest) context() *simulator.Context {
	c := *g.f.model.Service.Context
	return &c
}

func (g *fakeGuest) look() {
	ctx := g.context()
	for _, e := range g.f.model.Map().All("VirtualMachine") {
		vm, ok := e.(*simulator.VirtualMachine)
		if !ok {
			continue
		}
		var keys map[string]string
		var macs []string
		ctx.WithLock(vm, func() {
			if vm.Config == nil || vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
				return
			}
			keys = keysOf(vm.Config.ExtraConfig)
			for _, d := range vm.Config.Hardware.Device {
				if c, ok := d.(types.BaseVirtualEthernetCard); ok {
					macs = append(macs, c.GetVirtualEthernetCard().MacAddress)
				}
			}
		})
		if keys[guestinfo.KeyKind] == guestinfo.KindAppliance {
			g.play(ctx, vm, keys, macs)
		}
	}
}

func (g *fakeGuest) play(ctx *simulator.Context, vm *simulator.VirtualMachine, keys map[string]string, macs []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := vm.Self.Value
	switch {
	case g.silent && !g.played[id]:
		g.played[id] = true
	case g.silent:
	case g.off && !g.played[id]:
		g.played[id] = true
		must(g.f.t, os.WriteFile(filepath.Join(g.f.ds, "VCH001", consoleLog), []byte(strings.Repeat("x\r\n", 30)+"\x1b[1mno scratch disk\r\n"), 0o600))
		ctx.Map.AtomicUpdate(ctx, vm, []types.PropertyChange{{Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff}})
	case !g.played[id]:
		g.played[id] = true
		key, err := guestinfo.GenerateSealKey()
		if err != nil {
			panic(err)
		}
		g.keys[id] = key
		g.set(ctx, vm, guestinfo.KeySealKey, key.Public().String())
		if g.noIP {
			return
		}
		ctx.Map.AtomicUpdate(ctx, vm, []types.PropertyChange{
			{Name: "guest.net", Val: []types.GuestNicInfo{
				{MacAddress: macs[1], IpAddress: []string{"172.16.0.1"}},
				{MacAddress: macs[0], IpAddress: []string{"fe80::1", "127.118.0.10"}},
			}},
			{Name: "guest.ipAddress", Val: "172.16.0.1"},
		})
		g.set(ctx, vm, guestinfo.KeyTetherState, "waiting for secrets")
	case g.secrets.Name == "" && keys[guestinfo.KeyPassword] != "":
		g.serve(ctx, vm, keys)
	case g.secrets.Name != "" && strings.HasPrefix(g.engine, engineFailed) && keys[guestinfo.KeyEngineState] != engineRunning && time.Since(g.turned) > 60*time.Millisecond:
		g.turned = time.Now()
		g.supervise(ctx, vm, keys[guestinfo.KeyEngineState])
	}
}

func (g *fakeGuest) serve(ctx *simulator.Context, vm *simulator.VirtualMachine, keys map[string]string) {
	v, err := guestinfo.DecodeVCH(guestinfo.FromMap(keys))
	if err == nil {
		v, err = guestinfo.UnsealVCH(v, g.keys[vm.Self.Value])
	}
	if err != nil {
		g.f.t.Error(err)
		return
	}
	g.secrets = v
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/_ping":
		case "/vic/volumes/db/grow":
			var q struct{ Capacity int64 }
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				g.f.t.Error(err)
			}
			fmt.Fprintf(w, `{"Name":"db","Status":{"capacityBytes":%d}}`, q.Capacity)
		case "/vic/volumes/nope/grow":
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message":"get nope: no such volume"}`)
		case "/vic/traceflow":
			var q struct{ From, To string }
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				g.f.t.Error(err)
			}
			fmt.Fprintf(w, `{"allowed":false,"point":"source guest, out","reason":"denied by policy web","rule":"deny tcp/80 from a to b","source":"172.16.0.2","destination":"172.16.0.3"}`)
		default:
			http.NotFound(w, r)
		}
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	if v.ServerCert == "" {
		srv.Start()
	} else {
		pair, err := tls.X509KeyPair([]byte(v.ServerCert), []byte(v.ServerKey))
		if err != nil {
			g.f.t.Error(err)
			return
		}
		srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
		if g.wrongCert {
			srv.TLS = nil
		}
		if v.ClientCAs != "" {
			srv.TLS.ClientAuth = tls.RequireAnyClientCert
		}
		srv.StartTLS()
	}
	g.servers = append(g.servers, srv)
	g.addr = srv.Listener.Addr().String()
	g.set(ctx, vm, guestinfo.KeyEngineState, g.engine)
}

// supervise plays an engine that ends and is started again: failsLeft times, or
// for ever when that is negative.
func (g *fakeGuest) supervise(ctx *simulator.Context, vm *simulator.VirtualMachine, state string) {
	switch {
	case !strings.HasPrefix(state, engineFailed):
		if g.failsLeft == 0 {
			g.set(ctx, vm, guestinfo.KeyEngineState, engineRunning)
			return
		}
		g.failsLeft--
		g.set(ctx, vm, guestinfo.KeyEngineState, g.engine)
	default:
		g.set(ctx, vm, guestinfo.KeyEngineState, "STARTING")
	}
}

func (g *fakeGuest) set(ctx *simulator.Context, vm *simulator.VirtualMachine, key, value string) {
	ctx.WithLock(vm, func() {
		var extra []types.BaseOptionValue
		for _, o := range vm.Config.ExtraConfig {
			if o.GetOptionValue().Key != key {
				extra = append(extra, o)
			}
		}
		extra = append(extra, &types.OptionValue{Key: key, Value: value})
		ctx.Update(vm, []types.PropertyChange{{Name: "config.extraConfig", Val: extra}})
	})
}

// dial reaches the fake engine by the address that the guest reported.
func (g *fakeGuest) dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	to := g.addr
	g.mu.Unlock()
	if !strings.HasPrefix(address, "127.118.0.10:237") {
		return nil, fmt.Errorf("dialled %s", address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, to)
}
