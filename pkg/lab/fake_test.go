package lab

import (
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// fakeHypervisor runs VMs as entries of a map. It outlives labs, as real VMs do.
type fakeHypervisor struct {
	mu      sync.Mutex
	vms     map[string]*fakeInstance // by machine id
	started []machine.Machine
	fail    error
	gate    chan struct{} // when set, Start waits for it
}

var (
	_ machine.Hypervisor = (*fakeHypervisor)(nil)
	_ machine.Instance   = (*fakeInstance)(nil)
)

type fakeInstance struct {
	h        *fakeHypervisor
	m        machine.Machine
	mu       sync.Mutex
	g        machine.Guest
	once     sync.Once
	done     chan struct{}
	err      error
	resets   int
	shutdown func(*fakeInstance) error
	plugged  []string         // what was done to the hardware
	refuse   map[string]error // operations that fail, by how they begin
}

func (h *fakeHypervisor) Start(ctx context.Context, m machine.Machine, g machine.Guest) (machine.Instance, error) {
	h.mu.Lock()
	gate, fail := h.gate, h.fail
	h.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if fail != nil {
		return nil, fail
	}
	i := &fakeInstance{h: h, m: m, g: g, done: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.vms == nil {
		h.vms = map[string]*fakeInstance{}
	}
	h.vms[m.ID] = i
	h.started = append(h.started, m)
	return i, nil
}

func (h *fakeHypervisor) Adopt(_ context.Context, m machine.Machine, g machine.Guest) (machine.Instance, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := h.vms[m.ID]
	if i == nil {
		return nil, errdefs.ErrNotFound
	}
	i.mu.Lock()
	i.g = g
	i.mu.Unlock()
	return i, nil
}

func (h *fakeHypervisor) last(t *testing.T) *fakeInstance {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.started) == 0 {
		t.Fatal("no VM was started")
	}
	return h.vms[h.started[len(h.started)-1].ID]
}

func (i *fakeInstance) end(err error) {
	i.once.Do(func() {
		i.h.mu.Lock()
		delete(i.h.vms, i.m.ID)
		i.h.mu.Unlock()
		i.err = err
		close(i.done)
	})
}

func (i *fakeInstance) guest() machine.Guest {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.g
}

func (i *fakeInstance) PID() int              { return 4242 }
func (i *fakeInstance) Done() <-chan struct{} { return i.done }
func (i *fakeInstance) Err() error            { return i.err }
func (i *fakeInstance) Kill()                 { go i.end(nil) }
func (i *fakeInstance) Reset() error          { i.resets++; return nil }
func (i *fakeInstance) RebootGuest() error    { return nil }
func (i *fakeInstance) Usage() (machine.Usage, error) {
	return machine.Usage{CPUSeconds: 1, MemoryBytes: 64 << 20}, nil
}

func (i *fakeInstance) ShutdownGuest() error {
	if i.shutdown != nil {
		return i.shutdown(i)
	}
	return errors.New("no tools")
}

// rig is a running lab and a client of it.
type rig struct {
	t    *testing.T
	ctx  context.Context
	cfg  Config
	l    *Lab
	hv   *fakeHypervisor
	c    *govmomi.Client
	f    *find.Finder
	dc   *object.Datacenter
	pool *object.ResourcePool
	vms  *object.Folder
	stop func()
}

// both runs a test in both modes.
func both(t *testing.T, fn func(*testing.T, *rig)) {
	for _, mode := range []Mode{ModeESXi, ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			fn(t, newRig(t, Config{Mode: mode}))
		})
	}
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	if os.Getenv("LAB_LOG") != "" {
		log.SetOutput(os.Stderr)
	}
	if cfg.StateDir == "" {
		cfg.StateDir = t.TempDir()
	}
	if cfg.Hypervisor == nil {
		cfg.Hypervisor = &fakeHypervisor{}
	}
	cfg.Listen, cfg.Log = "127.0.0.1:0", logrus.NewEntry(log)
	if cfg.SaveDelay == 0 {
		cfg.SaveDelay = time.Millisecond
	}
	r := &rig{t: t, cfg: cfg, hv: cfg.Hypervisor.(*fakeHypervisor)}
	r.start()
	return r
}

func (r *rig) start() {
	r.t.Helper()
	l, err := New(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	select {
	case <-l.Ready():
	case err := <-done:
		r.t.Fatalf("lab: %v", err)
	}
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				r.t.Errorf("lab: %v", err)
			}
		})
	}
	r.t.Cleanup(r.stop)
	r.l, r.ctx = l, ctx
	r.login()
}

func (r *rig) login() {
	r.t.Helper()
	u := r.l.URL()
	u.User = url.UserPassword(r.l.User(), r.l.Password())
	c, err := govmomi.NewClient(r.ctx, u, true)
	if err != nil {
		r.t.Fatal(err)
	}
	r.c, r.f = c, find.NewFinder(c.Client)
	if r.dc, err = r.f.DefaultDatacenter(r.ctx); err != nil {
		r.t.Fatal(err)
	}
	r.f.SetDatacenter(r.dc)
	pools, err := r.f.ResourcePoolList(r.ctx, "*/Resources")
	if err != nil {
		r.t.Fatal(err)
	}
	r.pool = pools[0]
	folders, err := r.dc.Folders(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	r.vms = folders.VmFolder
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%v", err)
	}
}

// wait waits for a task that must succeed.
func (r *rig) wait(task *object.Task, err error) *types.TaskInfo {
	r.t.Helper()
	r.must(err)
	info, err := task.WaitForResult(r.ctx)
	if err != nil {
		r.t.Fatalf("task %s: %v", task.Reference().Value, err)
	}
	return info
}

// fails waits for a task that must fail with a fault of this type.
func fails[F any](r *rig, task *object.Task, err error) F {
	r.t.Helper()
	if err == nil {
		err = task.Wait(r.ctx)
	}
	return faultIs[F](r.t, err)
}

// faultIs checks an error's fault, be it of a call or of a task.
func faultIs[F any](t *testing.T, err error) F {
	t.Helper()
	var zero F
	var f any
	switch has := (interface{ Fault() types.BaseMethodFault })(nil); {
	case err == nil:
	case errors.As(err, &has):
		f = has.Fault()
	case soap.IsSoapFault(err):
		f = soap.ToSoapFault(err).VimFault()
	}
	x, ok := f.(F)
	if !ok {
		t.Fatalf("error %v (fault %T), want %T", err, f, zero)
	}
	return x
}

func (r *rig) network(name string) types.BaseVirtualDeviceBackingInfo {
	r.t.Helper()
	n, err := r.f.Network(r.ctx, name)
	r.must(err)
	b, err := n.EthernetCardBackingInfo(r.ctx)
	r.must(err)
	return b
}

// containerSpec is the hardware that the contract gives a container.
func (r *rig) containerSpec(name string) types.VirtualMachineConfigSpec {
	return specOn(name, "mydatastore", r.network("VCH Bridge"))
}

func specOn(name, ds string, net types.BaseVirtualDeviceBackingInfo) types.VirtualMachineConfigSpec {
	dir := "[" + ds + "] " + name + "/"
	scsi := &types.ParaVirtualSCSIController{}
	scsi.Key, scsi.SharedBus = -1, types.VirtualSCSISharingNoSharing
	cd := &types.VirtualCdrom{}
	cd.Key, cd.ControllerKey, cd.UnitNumber = -2, 200, types.NewInt32(0)
	cd.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[" + ds + "] VCH001/bootstrap.iso"}}
	disk := &types.VirtualDisk{CapacityInKB: 8 << 20}
	disk.Key, disk.ControllerKey, disk.UnitNumber = -3, -1, types.NewInt32(0)
	disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", ThinProvisioned: types.NewBool(true),
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: dir + name + ".vmdk"}}
	nic := &types.VirtualVmxnet3{}
	nic.Key, nic.Backing = -4, net
	nic.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: 192}
	nic.UptCompatibilityEnabled = types.NewBool(true)
	ser := &types.VirtualSerialPort{YieldOnPoll: true}
	ser.Key = -5
	ser.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true}
	ser.Backing = &types.VirtualSerialPortURIBackingInfo{VirtualDeviceURIBackingInfo: types.VirtualDeviceURIBackingInfo{
		ServiceURI: "tcp://10.118.0.10:8080", Direction: "client"}}
	out := &types.VirtualSerialPort{YieldOnPoll: true}
	out.Key = -6
	out.Backing = &types.VirtualSerialPortFileBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: dir + "output.log"}}
	spec := types.VirtualMachineConfigSpec{
		Name: name, GuestId: "otherLinux64Guest", NumCPUs: 1, MemoryMB: 256,
		Files:       &types.VirtualMachineFileInfo{VmPathName: dir + name + ".vmx"},
		BootOptions: &types.VirtualMachineBootOptions{BootOrder: []types.BaseVirtualMachineBootOptionsBootableDevice{&types.VirtualMachineBootOptionsBootableCdromDevice{}}},
		ExtraConfig: []types.BaseOptionValue{
			&types.OptionValue{Key: "serial0.hardwareFlowControl", Value: "TRUE"},
			&types.OptionValue{Key: "guestinfo./common/name", Value: "jolly_panini"},
			&types.OptionValue{Key: "guestinfo./sessions|" + name + "/cmd/Args", Value: `["/bin/sh","-c","echo a | wc # \u00e9"]`},
		},
	}
	for _, d := range []types.BaseVirtualDevice{scsi, cd, disk, nic, ser, out} {
		c := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d}
		if _, ok := d.(*types.VirtualDisk); ok {
			c.FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
		}
		spec.DeviceChange = append(spec.DeviceChange, c)
	}
	return spec
}

// upload puts a small file on a datastore.
func (r *rig) upload(path string, b []byte) {
	r.t.Helper()
	ds, err := r.f.Datastore(r.ctx, "mydatastore")
	r.must(err)
	r.must(ds.Upload(r.ctx, bytesReader(b), path, nil))
}

// container makes a VM with an ISO that exists.
func (r *rig) container(name string) *object.VirtualMachine {
	r.t.Helper()
	r.upload("VCH001/bootstrap.iso", []byte("iso"))
	info := r.wait(r.vms.CreateVM(r.ctx, r.containerSpec(name), r.pool, nil))
	return object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
}

func (r *rig) read(ref types.ManagedObjectReference, props ...string) mo.VirtualMachine {
	r.t.Helper()
	var m mo.VirtualMachine
	r.must(property.DefaultCollector(r.c.Client).RetrieveOne(r.ctx, ref, props, &m))
	return m
}

func (r *rig) extra(vm *object.VirtualMachine) map[string]string {
	r.t.Helper()
	out := map[string]string{}
	for _, o := range r.read(vm.Reference(), "config.extraConfig").Config.ExtraConfig {
		out[o.GetOptionValue().Key] = o.GetOptionValue().Value.(string)
	}
	return out
}
