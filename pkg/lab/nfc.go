package lab

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
)

type poolObj struct {
	*simulator.ResourcePool
	l *Lab
}

type vappObj struct {
	*simulator.VirtualApp
	l *Lab
}

// leaseTimeout ends an import without progress; vSphere's is 5 minutes.
const leaseTimeout = 5 * time.Minute

// lease is an HttpNfcLease: an import that waits for its disks.
type lease struct {
	mo.HttpNfcLease
	l    *Lab
	vm   types.ManagedObjectReference
	host string // what clients put for "*"

	mu       sync.Mutex
	files    map[string]string // name in the URL: file
	manifest map[string]types.HttpNfcLeaseManifestEntry
	deadline time.Time
	closed   bool
}

// leaseBook finds a lease by its id: its id is all that an upload shows.
type leaseBook struct {
	mu   sync.Mutex
	open map[string]*lease
}

func (b *leaseBook) put(id string, x *lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = map[string]*lease{}
	}
	b.open[id] = x
}

func (b *leaseBook) get(id string) *lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open[id]
}

func (b *leaseBook) remove(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, id)
}

// expire aborts what nobody works on any more.
func (b *leaseBook) expire(l *Lab) {
	b.mu.Lock()
	var old []*lease
	for _, x := range b.open {
		x.mu.Lock()
		if time.Now().After(x.deadline) {
			old = append(old, x)
		}
		x.mu.Unlock()
	}
	b.mu.Unlock()
	for _, x := range old {
		x.fail(l.context(nil), reason(&types.Timedout{}, "no progress for %s", leaseTimeout))
	}
}

func (p *poolObj) ImportVApp(ctx *simulator.Context, req *types.ImportVApp) soap.HasFault {
	return p.l.importVApp(ctx, p.ResourcePool, req)
}

func (a *vappObj) ImportVApp(ctx *simulator.Context, req *types.ImportVApp) soap.HasFault {
	return &methods.ImportVAppBody{Fault_: unsupported()}
}

// importVApp makes the VM with empty disks, and a lease to fill them.
func (l *Lab) importVApp(ctx *simulator.Context, pool *simulator.ResourcePool, req *types.ImportVApp) soap.HasFault {
	body := &methods.ImportVAppBody{}
	spec, ok := req.Spec.(*types.VirtualMachineImportSpec)
	if !ok {
		body.Fault_ = simulator.Fault("only a virtual machine can be imported", &types.InvalidArgument{InvalidProperty: "spec"})
		return body
	}
	dc := datacenterOf(ctx, pool.Parent)
	folder, _ := ctx.Map.Get(dc.VmFolder).(*simulator.Folder)
	if req.Folder != nil {
		if folder, ok = ctx.Map.Get(*req.Folder).(*simulator.Folder); !ok {
			body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: *req.Folder})
			return body
		}
	}
	x := &lease{l: l, files: map[string]string{}, manifest: map[string]types.HttpNfcLeaseManifestEntry{}, deadline: time.Now().Add(leaseTimeout)}
	x.State = types.HttpNfcLeaseStateInitializing
	x.Self = types.ManagedObjectReference{Type: "HttpNfcLease", Value: fmt.Sprintf("lease-%s-%s", l.boot, randomHex(12))}
	// As an ESXi says it: the client puts the address by which it reaches us. A
	// vCenter names a host; ours has two names, one here and one for guests.
	x.host = "*"
	ctx.Session.Put(x)
	l.leases.put(x.Self.Value, x)
	c := l.context(ctx.Session)
	l.background(func() {
		res, fault := l.shielded(x.Self, "importVApp", func() (types.AnyType, types.BaseMethodFault) {
			l.faults.delay(c, "importVApp")
			return l.createVM(c, folder, spec.ConfigSpec, pool.Self, req.Host)
		})
		if fault != nil {
			x.fail(c, fault)
			return
		}
		x.ready(c, res.(types.ManagedObjectReference))
	})
	body.Res = &types.ImportVAppResponse{Returnval: x.Self}
	return body
}

func (x *lease) ready(c *simulator.Context, vm types.ManagedObjectReference) {
	o := c.Map.Get(vm).(*simulator.VirtualMachine)
	var m *mo.VirtualMachine
	locked(c, o, func() { m = snapshot(o) })
	info := &types.HttpNfcLeaseInfo{Lease: x.Self, Entity: vm, LeaseTimeout: int32(leaseTimeout.Seconds())}
	devs := object.VirtualDeviceList(m.Config.Hardware.Device)
	n := 0
	x.mu.Lock()
	x.vm = vm
	for _, d := range devs {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		b := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		file, fault := x.l.file(c, m.Parent, b.FileName)
		if fault != nil {
			continue
		}
		name := fmt.Sprintf("disk-%d.vmdk", n)
		x.files[name] = file
		bus := devs.FindByKey(disk.ControllerKey)
		info.DeviceUrl = append(info.DeviceUrl, types.HttpNfcLeaseDeviceUrl{
			Key:       fmt.Sprintf("/%s/%s:%d", vm.Value, devs.Type(bus), *disk.UnitNumber),
			ImportKey: fmt.Sprintf("/%s/%s:%d", m.Name, devs.Type(bus), *disk.UnitNumber),
			Url:       fmt.Sprintf("https://%s/nfc/%s/%s", x.host, x.Self.Value, name),
			Disk:      types.NewBool(true), TargetId: name, SslThumbprint: x.l.print,
		})
		info.TotalDiskCapacityInKB += disk.CapacityInKB
		n++
	}
	x.mu.Unlock()
	locked(c, x, func() {
		c.Update(x, []types.PropertyChange{set("info", info), set("initializeProgress", int32(100)), set("state", types.HttpNfcLeaseStateReady)})
	})
}

// close makes a lease unusable; only the first caller gets true.
func (x *lease) close() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	was := x.closed
	x.closed = true
	x.l.leases.remove(x.Self.Value)
	return !was
}

// fail ends an import and removes everything it made.
func (x *lease) fail(c *simulator.Context, fault types.BaseMethodFault) {
	if !x.close() {
		return
	}
	x.discard(c)
	locked(c, x, func() {
		c.Update(x, []types.PropertyChange{set("error", types.LocalizedMethodFault{Fault: fault, LocalizedMessage: faultText(fault)}),
			set("state", types.HttpNfcLeaseStateError)})
	})
}

func (x *lease) discard(c *simulator.Context) {
	x.mu.Lock()
	vm := x.vm
	x.mu.Unlock()
	o, ok := c.Map.Get(vm).(*simulator.VirtualMachine)
	if !ok {
		return
	}
	if fault := x.l.begin(vm, opConfig); fault != nil {
		return
	}
	defer x.l.end(vm)
	var before *mo.VirtualMachine
	locked(c, o, func() { before = snapshot(o) })
	if fault := x.l.unregister(c, o); fault != nil {
		x.l.log.WithField("vm", vm.Value).Warnf("removing a VM whose import failed: %s", faultText(fault))
		return
	}
	x.l.removeFiles(c, before)
}

func (x *lease) HttpNfcLeaseComplete(ctx *simulator.Context, _ *types.HttpNfcLeaseComplete) soap.HasFault {
	if x.State != types.HttpNfcLeaseStateReady || !x.close() {
		return &methods.HttpNfcLeaseCompleteBody{Fault_: simulator.Fault("the lease is not ready", new(types.InvalidState))}
	}
	ctx.Update(x, []types.PropertyChange{set("state", types.HttpNfcLeaseStateDone), set("transferProgress", int32(100))})
	return &methods.HttpNfcLeaseCompleteBody{Res: &types.HttpNfcLeaseCompleteResponse{}}
}

func (x *lease) HttpNfcLeaseAbort(ctx *simulator.Context, req *types.HttpNfcLeaseAbort) soap.HasFault {
	if !x.close() {
		return &methods.HttpNfcLeaseAbortBody{Fault_: simulator.Fault("the lease is over", new(types.InvalidState))}
	}
	x.discard(x.l.context(ctx.Session))
	changes := []types.PropertyChange{}
	if req.Fault != nil {
		changes = append(changes, set("error", *req.Fault))
	}
	ctx.Update(x, append(changes, set("state", types.HttpNfcLeaseStateError)))
	return &methods.HttpNfcLeaseAbortBody{Res: &types.HttpNfcLeaseAbortResponse{}}
}

func (x *lease) HttpNfcLeaseProgress(ctx *simulator.Context, req *types.HttpNfcLeaseProgress) soap.HasFault {
	x.touch()
	ctx.Update(x, []types.PropertyChange{set("transferProgress", req.Percent)})
	return &methods.HttpNfcLeaseProgressBody{Res: &types.HttpNfcLeaseProgressResponse{}}
}

func (x *lease) HttpNfcLeaseGetManifest(*simulator.Context, *types.HttpNfcLeaseGetManifest) soap.HasFault {
	res := &types.HttpNfcLeaseGetManifestResponse{}
	x.mu.Lock()
	for _, m := range x.manifest {
		res.Returnval = append(res.Returnval, m)
	}
	x.mu.Unlock()
	return &methods.HttpNfcLeaseGetManifestBody{Res: res}
}

func (x *lease) touch() {
	x.mu.Lock()
	x.deadline = time.Now().Add(leaseTimeout)
	x.mu.Unlock()
}

// touching keeps a lease alive while bytes come.
type touching struct {
	r io.Reader
	x *lease
	h hash.Hash
	n int64
}

func (t *touching) Read(b []byte) (int, error) {
	n, err := t.r.Read(b)
	t.h.Write(b[:n])
	t.n += int64(n)
	t.x.touch()
	return n, err
}

// serveNFC is /nfc/LEASE/NAME: it takes a disk.
func (l *Lab) serveNFC(w http.ResponseWriter, r *http.Request) {
	id, name := path.Split(strings.TrimPrefix(r.URL.Path, "/nfc/"))
	x := l.leases.get(strings.TrimSuffix(id, "/"))
	if x == nil {
		http.NotFound(w, r)
		return
	}
	x.mu.Lock()
	file, ok := x.files[name]
	x.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		http.Error(w, "only uploads", http.StatusMethodNotAllowed)
		return
	}
	t := &touching{r: r.Body, x: x, h: sha1.New()}
	c := l.context(nil)
	_, free := l.usage(datastoreOf(l.shown(file)))
	err := store.Import(r.Context(), file, t, free)
	if err == nil {
		_, err = io.Copy(io.Discard, t)
	}
	if err != nil {
		l.log.WithError(err).WithField("file", file).Warn("import of a disk")
		fault := l.fileFault(file, err)
		x.fail(c, fault)
		status := http.StatusInternalServerError
		if noSpace(err) {
			status = http.StatusInsufficientStorage
		}
		http.Error(w, faultText(fault), status)
		return
	}
	x.mu.Lock()
	x.manifest[name] = types.HttpNfcLeaseManifestEntry{Key: name, Sha1: hex.EncodeToString(t.h.Sum(nil)), Size: t.n, Disk: true}
	x.mu.Unlock()
	l.measureAll(c)
	w.WriteHeader(http.StatusCreated)
}
