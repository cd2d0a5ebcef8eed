package lab

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vmware/govmomi/nfc"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
)

func thin(kb int64) *types.FileBackedVirtualDiskSpec {
	return &types.FileBackedVirtualDiskSpec{VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"}, CapacityKb: kb}
}

func TestVirtualDiskManager(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		dm := object.NewVirtualDiskManager(r.c.Client)
		p := func(s string) string { return "[mydatastore] " + s }
		file := func(s string) string { return filepath.Join(r.dir("mydatastore"), s) }
		r.must(os.MkdirAll(file("d"), 0o700))
		r.wait(dm.CreateVirtualDisk(r.ctx, p("d/a.vmdk"), r.dc, thin(8<<10)))
		r.must(writeAt(file("d/a-flat.vmdk"), 5<<20, []byte("bytes")))
		task, err := dm.CreateVirtualDisk(r.ctx, p("d/a.vmdk"), r.dc, thin(1))
		fails[*types.FileAlreadyExists](r, task, err)

		r.wait(dm.CopyVirtualDisk(r.ctx, p("d/a.vmdk"), r.dc, "[datastore2] b.vmdk", r.dc, nil, false))
		other := filepath.Join(r.dir("datastore2"), "b.vmdk")
		if got := readAt(t, store.FlatName(other), 5<<20, 5); got != "bytes" {
			t.Errorf("copied %q", got)
		}
		r.wait(dm.ExtendVirtualDisk(r.ctx, p("d/a.vmdk"), r.dc, 16<<10, nil))
		r.wait(dm.MoveVirtualDisk(r.ctx, p("d/a.vmdk"), r.dc, p("d/c.vmdk"), r.dc, false))
		d, err := store.ReadDescriptor(file("d/c.vmdk"))
		r.must(err)
		if d.Capacity() != 16<<20 || readAt(t, file("d/c-flat.vmdk"), 5<<20, 5) != "bytes" || exists(file("d/a.vmdk")) {
			t.Errorf("moved\n%s", d.Text())
		}
		id, err := dm.QueryVirtualDiskUuid(r.ctx, p("d/c.vmdk"), r.dc)
		r.must(err)
		if id != d.Get("ddb.uuid") {
			t.Errorf("uuid %s", id)
		}
		const other2 = "60 00 c2 93 7a 0f 00 00-00 00 00 00 00 00 00 01"
		r.must(dm.SetVirtualDiskUuid(r.ctx, p("d/c.vmdk"), r.dc, other2))
		if id, _ = dm.QueryVirtualDiskUuid(r.ctx, p("d/c.vmdk"), r.dc); id != other2 {
			t.Errorf("uuid set to %s", id)
		}
		r.wait(dm.DeleteVirtualDisk(r.ctx, p("d/c.vmdk"), r.dc))
		task, err = dm.DeleteVirtualDisk(r.ctx, p("d/c.vmdk"), r.dc)
		fails[*types.FileNotFound](r, task, err)
		task, err = dm.CopyVirtualDisk(r.ctx, p("d/none.vmdk"), r.dc, p("d/x.vmdk"), r.dc, nil, false)
		fails[*types.FileNotFound](r, task, err)
		task, err = dm.CreateVirtualDisk(r.ctx, "[none] a.vmdk", r.dc, thin(1))
		fails[*types.InvalidDatastorePath](r, task, err)
		if left := r.ls("mydatastore"); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	})
}

func writeAt(file string, off int64, b []byte) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(b, off)
	return err
}

func readAt(t *testing.T, file string, off int64, n int) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestChildDisk makes a delta disk by CreateVM, on qemu-img where there is one.
func TestChildDisk(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Log("no qemu-img: no child disks here")
		return
	}
	both(t, func(t *testing.T, r *rig) {
		dm := object.NewVirtualDiskManager(r.c.Client)
		r.wait(dm.CreateVirtualDisk(r.ctx, "[mydatastore] base.vmdk", r.dc, thin(4<<10)))
		r.upload("VCH001/bootstrap.iso", []byte("iso"))
		s := r.containerSpec("kid")
		b := s.DeviceChange[2].GetVirtualDeviceConfigSpec().Device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		b.Parent = &types.VirtualDiskFlatVer2BackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[mydatastore] base.vmdk"}}
		info := r.wait(r.vms.CreateVM(r.ctx, s, r.pool, nil))
		vm := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
		devs, err := vm.Device(r.ctx)
		r.must(err)
		disk := devs.FindByKey(2000).(*types.VirtualDisk)
		got := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if disk.CapacityInKB != 4<<10 || got.Parent == nil || got.Parent.FileName != "[mydatastore] base.vmdk" {
			t.Errorf("child %d KB, %+v", disk.CapacityInKB, got)
		}
		d, err := store.ReadDescriptor(filepath.Join(r.dir("mydatastore"), "kid", "kid.vmdk"))
		r.must(err)
		if d.Parent() != "../base.vmdk" {
			t.Errorf("hint %q", d.Parent())
		}
		r.wait(vm.PowerOn(r.ctx))
		r.wait(vm.PowerOff(r.ctx))
		r.wait(vm.Destroy(r.ctx))
		if !exists(filepath.Join(r.dir("mydatastore"), "base.vmdk")) {
			t.Error("the parent went with the child")
		}
	})
}

func TestDatastoreHTTP(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		ds, err := r.f.Datastore(r.ctx, "mydatastore")
		r.must(err)
		want := strings.Repeat("0123456789", 1000)
		r.must(ds.Upload(r.ctx, strings.NewReader(want), "a/b/file.bin", nil))
		body, n, err := ds.Download(r.ctx, "a/b/file.bin", nil)
		r.must(err)
		got, err := io.ReadAll(body)
		r.must(err)
		_ = body.Close()
		if string(got) != want || n != int64(len(want)) {
			t.Errorf("got %d bytes, %d announced", len(got), n)
		}

		u := ds.NewURL("a/b/file.bin")
		bare := &http.Client{Transport: r.c.Client.Client.DefaultTransport()}
		do := func(method string, change func(*http.Request)) *http.Response {
			t.Helper()
			req, err := http.NewRequestWithContext(r.ctx, method, u.String(), strings.NewReader("evil"))
			r.must(err)
			if change != nil {
				change(req)
			}
			res, err := bare.Do(req)
			r.must(err)
			b, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			res.Body = io.NopCloser(bytes.NewReader(b))
			return res
		}
		for _, m := range []string{"GET", "PUT", "DELETE", "HEAD"} {
			if res := do(m, nil); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s without a session: %s", m, res.Status)
			}
		}
		if res := do("GET", func(q *http.Request) { q.AddCookie(&http.Cookie{Name: soap.SessionCookieName, Value: "made-up"}) }); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("made-up session: %s", res.Status)
		}
		ticket, err := r.c.SessionManager.AcquireGenericServiceTicket(r.ctx, &types.SessionManagerHttpServiceRequestSpec{Url: u.String()})
		r.must(err)
		with := func(q *http.Request) {
			q.AddCookie(&http.Cookie{Name: "vmware_cgi_ticket", Value: ticket.Id})
			q.Header.Set("Range", "bytes=3-5")
		}
		res := do("GET", with)
		if b, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusPartialContent || string(b) != "345" {
			t.Errorf("with a ticket: %s %.20q", res.Status, b)
		}
		if res := do("GET", with); res.StatusCode != http.StatusUnauthorized {
			t.Errorf("a ticket used twice: %s", res.Status)
		}
		basic := func(q *http.Request) { q.SetBasicAuth(r.l.User(), r.l.Password()) }
		if res := do("HEAD", basic); res.StatusCode != http.StatusOK || res.ContentLength != int64(len(want)) {
			t.Errorf("HEAD: %s %d", res.Status, res.ContentLength)
		}
		u.Path = "/folder/../../../etc/passwd"
		if res := do("GET", basic); res.StatusCode == http.StatusOK {
			t.Errorf("left the datastore: %s", res.Status)
		}
		u.Path = "/folder/a/b/file.bin"
		if res := do("POST", basic); res.StatusCode != http.StatusConflict {
			t.Errorf("POST overwrote: %s", res.Status)
		}
		if res := do("DELETE", basic); res.StatusCode != http.StatusNoContent || exists(filepath.Join(r.dir("mydatastore"), "a/b/file.bin")) {
			t.Errorf("DELETE: %s", res.Status)
		}
		if res := do("GET", basic); res.StatusCode != http.StatusNotFound {
			t.Errorf("GET of nothing: %s", res.Status)
		}
	})
}

func TestFileManagerAndBrowser(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		fm := object.NewFileManager(r.c.Client)
		p := func(s string) string { return "[mydatastore] " + s }
		r.must(fm.MakeDirectory(r.ctx, p("VIC/42/images"), r.dc, true))
		faultIs[*types.FileAlreadyExists](t, fm.MakeDirectory(r.ctx, p("VIC/42/images"), r.dc, false))
		faultIs[*types.FileNotFound](t, fm.MakeDirectory(r.ctx, p("no/such/parent"), r.dc, false))
		r.upload("VIC/42/images/a.json", []byte("{}"))
		r.wait(fm.CopyDatastoreFile(r.ctx, p("VIC/42/images/a.json"), r.dc, p("VIC/b.json"), r.dc, false))
		task, err := fm.CopyDatastoreFile(r.ctx, p("VIC/42/images/a.json"), r.dc, p("VIC/b.json"), r.dc, false)
		fails[*types.FileAlreadyExists](r, task, err)
		r.wait(fm.MoveDatastoreFile(r.ctx, p("VIC/b.json"), r.dc, p("VIC/42/images/c.json"), r.dc, false))
		ds, err := r.f.Datastore(r.ctx, "mydatastore")
		r.must(err)
		b, err := ds.Browser(r.ctx)
		r.must(err)
		info := r.wait(b.SearchDatastoreSubFolders(r.ctx, p("VIC"), &types.HostDatastoreBrowserSearchSpec{MatchPattern: []string{"*.json"}, Details: &types.FileQueryFlags{FileSize: true}}))
		var found []string
		for _, res := range info.Result.(types.ArrayOfHostDatastoreBrowserSearchResults).HostDatastoreBrowserSearchResults {
			for _, f := range res.File {
				found = append(found, res.FolderPath+"/"+f.GetFileInfo().Path)
			}
		}
		slices.Sort(found)
		if len(found) != 2 || !strings.HasSuffix(found[0], "VIC/42/images/a.json") {
			t.Errorf("found %v", found)
		}
		task, err = b.SearchDatastore(r.ctx, p("nothing"), &types.HostDatastoreBrowserSearchSpec{MatchPattern: []string{"*"}})
		fails[*types.FileNotFound](r, task, err)
		r.wait(fm.DeleteDatastoreFile(r.ctx, p("VIC"), r.dc))
		task, err = fm.DeleteDatastoreFile(r.ctx, p("VIC"), r.dc)
		fails[*types.FileNotFound](r, task, err)
		task, err = fm.DeleteDatastoreFile(r.ctx, "[mydatastore]", r.dc)
		fails[*types.InvalidArgument](r, task, err)
		if left := r.ls("mydatastore"); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	})
}

func TestFullDatastore(t *testing.T) {
	r := newRig(t, Config{DatastoreCapacity: 4 << 20})
	ds, err := r.f.Datastore(r.ctx, "mydatastore")
	r.must(err)
	var m mo.Datastore
	pc := property.DefaultCollector(r.c.Client)
	r.must(pc.RetrieveOne(r.ctx, ds.Reference(), []string{"summary"}, &m))
	if m.Summary.Capacity != 4<<20 || m.Summary.FreeSpace > 4<<20 {
		t.Errorf("summary %+v", m.Summary)
	}
	if err := ds.Upload(r.ctx, bytes.NewReader(make([]byte, 8<<20)), "big", nil); err == nil || !strings.Contains(err.Error(), "507") {
		t.Errorf("upload of more than fits: %v", err)
	}
	r.must(ds.Upload(r.ctx, bytes.NewReader(bytes.Repeat([]byte("x"), 3<<20)), "most", nil))
	fm := object.NewFileManager(r.c.Client)
	task, err := fm.CopyDatastoreFile(r.ctx, "[mydatastore] most", r.dc, "[mydatastore] again", r.dc, false)
	fails[*types.NoDiskSpace](r, task, err)
	r.container("fits") // thin
	r.l.FillDatastore("mydatastore", true)
	task, err = r.vms.CreateVM(r.ctx, r.containerSpec("late"), r.pool, nil)
	fails[*types.NoDiskSpace](r, task, err)
	if exists(filepath.Join(r.dir("mydatastore"), "late")) {
		t.Error("a failed creation left a folder")
	}
	r.l.FillDatastore("mydatastore", false)
	r.wait(r.vms.CreateVM(r.ctx, r.containerSpec("late"), r.pool, nil))
	for _, f := range r.ls("mydatastore") {
		if f == "big" || f == "again" || strings.Contains(f, ".upload") {
			t.Errorf("left %s", f)
		}
	}
}

// importSpec is a VM with one disk to upload.
func importSpec(name string) *types.VirtualMachineImportSpec {
	scsi := &types.ParaVirtualSCSIController{}
	scsi.Key, scsi.SharedBus = -1, types.VirtualSCSISharingNoSharing
	disk := &types.VirtualDisk{CapacityInKB: 1024}
	disk.Key, disk.ControllerKey, disk.UnitNumber = -2, -1, types.NewInt32(0)
	disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", ThinProvisioned: types.NewBool(true),
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[mydatastore]"}}
	return &types.VirtualMachineImportSpec{ConfigSpec: types.VirtualMachineConfigSpec{Name: name, GuestId: "otherGuest",
		Files: &types.VirtualMachineFileInfo{VmPathName: "[mydatastore]"},
		DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: scsi},
			&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: disk, FileOperation: types.VirtualDeviceConfigSpecFileOperationCreate}}}}
}

func (r *rig) lease(name string) (*nfc.Lease, *nfc.LeaseInfo) {
	r.t.Helper()
	l, err := r.pool.ImportVApp(r.ctx, importSpec(name), r.vms, nil)
	r.must(err)
	info, err := l.Wait(r.ctx, nil)
	r.must(err)
	return l, info
}

func (r *rig) post(info *nfc.LeaseInfo, b []byte) error {
	item := info.Items[0]
	opts := soap.Upload{ContentLength: int64(len(b)), Type: "application/x-vnd.vmware-streamVmdk", Method: http.MethodPost}
	return r.c.Upload(r.ctx, bytes.NewReader(b), item.URL, &opts)
}

func TestImport(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		l, info := r.lease("imported")
		if len(info.DeviceUrl) != 1 {
			t.Fatalf("lease %+v", info)
		}
		info.Items = []nfc.FileItem{nfc.NewFileItem(r.leaseURL(info), types.OvfFileItem{})}
		grain := bytes.Repeat([]byte("Vic."), 16<<10)
		r.must(r.post(info, streamOptimized(1<<20, 128, grain)))
		r.must(l.Progress(r.ctx, 50))
		r.must(l.Complete(r.ctx))
		flat := filepath.Join(r.dir("mydatastore"), "imported", "imported-flat.vmdk")
		if got := readAt(t, flat, 64<<10, len(grain)); got != string(grain) {
			t.Error("the disk has other bytes")
		}
		vm, err := r.f.VirtualMachine(r.ctx, "imported")
		r.must(err)
		r.wait(vm.PowerOn(r.ctx))
		r.wait(vm.PowerOff(r.ctx))
		if err := l.Complete(r.ctx); err == nil {
			t.Error("completed twice")
		}

		// An abort, and an upload of something else, leave nothing.
		before := strings.Join(r.ls("mydatastore"), " ")
		l, _ = r.lease("aborted")
		r.must(l.Abort(r.ctx, nil))
		l, info = r.lease("rubbish")
		info.Items = []nfc.FileItem{nfc.NewFileItem(r.leaseURL(info), types.OvfFileItem{})}
		if err := r.post(info, bytes.Repeat([]byte("no disk"), 1000)); err == nil {
			t.Error("rubbish was taken for a disk")
		}
		var state mo.HttpNfcLease
		r.must(property.DefaultCollector(r.c.Client).RetrieveOne(r.ctx, l.Reference(), []string{"state"}, &state))
		if state.State != types.HttpNfcLeaseStateError {
			t.Errorf("lease %s", state.State)
		}
		r.l.FillDatastore("mydatastore", false)
		if after := strings.Join(r.ls("mydatastore"), " "); after != before {
			t.Errorf("left\n%s, had\n%s", after, before)
		}
		if _, err := r.f.VirtualMachine(r.ctx, "aborted"); err == nil {
			t.Error("an aborted import left its VM")
		}
		bad := importSpec("bad")
		bad.ConfigSpec.Files.VmPathName = "[nowhere]"
		l, err = r.pool.ImportVApp(r.ctx, bad, r.vms, nil)
		r.must(err)
		if _, err = l.Wait(context.WithoutCancel(r.ctx), nil); err == nil {
			t.Error("imported to nowhere")
		}
	})
}
