package vsphere

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

func testDatastore(t *testing.T, m *simulator.Model) (*sim, *Session, *Datastore) {
	t.Helper()
	s := newSim(t, m)
	se := s.dial(t)
	pool := ""
	if se.IsVC() {
		pool = "DC0_C0/Resources"
	}
	p, err := se.Place(t.Context(), PlaceConfig{Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	d, err := se.Datastore(t.Context(), DatastoreConfig{Name: "LocalDS_0", Pool: &p.Pool, Folder: &p.Folder, Host: p.Host})
	if err != nil {
		t.Fatal(err)
	}
	return s, se, d
}

func models() map[string]func() *simulator.Model {
	return map[string]func() *simulator.Model{"esx": simulator.ESX, "vpx": simulator.VPX}
}

func TestDatastoreFiles(t *testing.T) {
	for name, model := range models() {
		t.Run(name, func(t *testing.T) {
			s, se, d := testDatastore(t, model())
			ctx := t.Context()
			data := make([]byte, 100_000)
			_, _ = rand.Read(data)
			put := func(p string) error { return d.Put(ctx, d.Path(p), bytes.NewReader(data), int64(len(data))) }

			for range 2 { // the second time it is there
				if err := d.Mkdir(ctx, d.Path("VIC/a b", "blobs")); err != nil {
					t.Fatal(err)
				}
			}
			if err := put("VIC/a b/blobs/x+y%20"); err != nil {
				t.Fatal(err)
			}
			s.dropSession(t, se)
			if err := put("VIC/a b/blobs/z"); err != nil {
				t.Errorf("put after the session was lost: %v", err)
			}
			if err := d.Put(ctx, d.Path("VIC/empty"), strings.NewReader(""), 0); err != nil {
				t.Errorf("put of an empty file: %v", err)
			}
			s.dropSession(t, se)
			for _, off := range []int64{0, 1, 99_999, 100_000} {
				r, size, err := d.Get(ctx, d.Path("VIC/a b/blobs/x+y%20"), off)
				if err != nil {
					t.Fatalf("get from %d: %v", off, err)
				}
				got, err := io.ReadAll(r)
				r.Close()
				if err != nil || !bytes.Equal(got, data[off:]) || size != 100_000 {
					t.Errorf("get from %d: %d bytes of %d, %v", off, len(got), size, err)
				}
			}
			if err := d.Move(ctx, d.Path("VIC/a b/blobs/z"), d.Path("VIC/a b/blobs/x+y%20")); err != nil {
				t.Errorf("move over a file: %v", err)
			}
			l, err := d.List(ctx, d.Path("VIC/a b"))
			if err != nil || len(l) != 1 || l[0].Name != "blobs" || !l[0].Dir {
				t.Errorf("list: %+v, %v", l, err)
			}
			l, err = d.List(ctx, d.Path("VIC/a b/blobs"))
			if err != nil || len(l) != 1 || l[0].Name != "x+y%20" || l[0].Size != 100_000 || l[0].Dir {
				t.Errorf("list: %+v, %v", l, err)
			}
			if e, err := d.Stat(ctx, d.Path("VIC/empty")); err != nil || e.Name != "empty" || e.Dir {
				t.Errorf("stat: %+v, %v", e, err)
			}
			if e, err := d.Stat(ctx, d.Path()); err != nil || !e.Dir {
				t.Errorf("stat of the root: %+v, %v", e, err)
			}
			for range 2 { // the second time it is gone
				if err := d.Delete(ctx, d.Path("VIC")); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
			for what, err := range map[string]error{
				"list": second(d.List(ctx, d.Path("VIC"))),
				"stat": second(d.Stat(ctx, d.Path("VIC/empty"))),
				"get":  third(d.Get(ctx, d.Path("VIC/empty"), 0)),
				"move": d.Move(ctx, d.Path("VIC/empty"), d.Path("e")),
			} {
				if !errdefs.IsNotFound(err) {
					t.Errorf("%s of what is gone: %v", what, err)
				}
			}
			for _, p := range []string{"VIC/x", "[other] x", "[LocalDS_0"} {
				if err := d.Put(ctx, p, strings.NewReader(""), 0); !errdefs.IsInvalidArgument(err) {
					t.Errorf("put to %q: %v", p, err)
				}
			}
			if err := d.Delete(ctx, d.Path("..", "x", "..")); !errdefs.IsInvalidArgument(err) {
				t.Errorf("delete of the root: %v", err)
			}
			if c, f, err := d.Space(ctx); err != nil || c <= 0 || f <= 0 || f > c {
				t.Errorf("space: %d of %d, %v", f, c, err)
			}
		})
	}
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }

func TestDatastoreDisks(t *testing.T) {
	for name, model := range models() {
		t.Run(name, func(t *testing.T) {
			_, se, d := testDatastore(t, model())
			ctx := t.Context()
			if err := d.Mkdir(ctx, d.Path("disks")); err != nil {
				t.Fatal(err)
			}
			before := inventory(t, se, d)
			vmdk := strings.Repeat("v", 70_000)
			imp := func(ctx context.Context, p string, r io.Reader) error {
				return d.ImportDisk(ctx, d.Path(p), r, int64(len(vmdk)), 8<<30)
			}
			if err := imp(ctx, "disks/a.vmdk", strings.NewReader(vmdk)); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Stat(ctx, d.Path("disks/a.vmdk")); err != nil {
				t.Error(err)
			}
			if err := imp(ctx, "disks/a.vmdk", strings.NewReader(vmdk)); !errdefs.IsAlreadyExists(err) {
				t.Errorf("import over a disk: %v", err)
			}
			if err := imp(ctx, "nowhere/a.vmdk", strings.NewReader(vmdk)); !errdefs.IsNotFound(err) {
				t.Errorf("import into no folder: %v", err)
			}
			if err := imp(ctx, "disks/b.vmdk", strings.NewReader(vmdk[:100])); err == nil {
				t.Error("import of a part succeeded")
			}
			if err := imp(ctx, "disks/b.vmdk", io.MultiReader(strings.NewReader(vmdk[:100]), iotest.ErrReader(errors.New("source broke")))); err == nil || !strings.Contains(err.Error(), "source broke") {
				t.Errorf("import from a reader that breaks: %v", err)
			}
			gone, cancel := context.WithCancel(ctx)
			err := imp(gone, "disks/b.vmdk", io.MultiReader(strings.NewReader(vmdk[:100]), readFunc(func(p []byte) (int, error) {
				cancel()
				<-gone.Done()
				return 0, gone.Err()
			})))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled import: %v", err)
			}
			if err := d.CopyDisk(ctx, d.Path("disks/a.vmdk"), d.Path("disks/c.vmdk")); err != nil {
				t.Error(err)
			}
			if err := d.CopyDisk(ctx, d.Path("disks/a.vmdk"), d.Path("disks/c.vmdk")); !errdefs.IsAlreadyExists(err) {
				t.Errorf("copy over a disk: %v", err)
			}
			if err := d.CopyDisk(ctx, d.Path("disks/none.vmdk"), d.Path("disks/d.vmdk")); !errdefs.IsNotFound(err) {
				t.Errorf("copy of no disk: %v", err)
			}
			l, err := d.List(ctx, d.Path("disks"))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range l {
				if e.Name != "a.vmdk" && e.Name != "c.vmdk" && !strings.HasSuffix(e.Name, "-flat.vmdk") {
					t.Errorf("left behind: %s", e.Name)
				}
			}
			for range 2 {
				if err := d.DeleteDisk(ctx, d.Path("disks/a.vmdk")); err != nil {
					t.Error(err)
				}
				if err := d.DeleteDisk(ctx, d.Path("disks/c.vmdk")); err != nil {
					t.Error(err)
				}
			}
			if after := inventory(t, se, d); after != before {
				t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// inventory names all VMs of the pool and what is on the datastore.
func inventory(t *testing.T, se *Session, d *Datastore) string {
	t.Helper()
	var b strings.Builder
	vms, err := se.VMs(t.Context(), *d.cfg.Pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vms {
		b.WriteString(v.Name + "\n")
	}
	for _, dir := range []string{"", "disks"} {
		l, err := d.List(t.Context(), d.Path(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range l {
			b.WriteString(dir + "/" + e.Name + "\n")
		}
	}
	return b.String()
}

func TestReconfigureAndNetworks(t *testing.T) {
	for name, model := range models() {
		t.Run(name, func(t *testing.T) {
			_, se, d := testDatastore(t, model())
			ctx := t.Context()
			vms, err := se.VMs(ctx, *d.cfg.Pool)
			if err != nil {
				t.Fatal(err)
			}
			err = se.Reconfigure(ctx, vms[0].Ref, types.VirtualMachineConfigSpec{
				ExtraConfig: []types.BaseOptionValue{&types.OptionValue{Key: "guestinfo./a", Value: "b"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			v, err := se.VM(ctx, vms[0].Ref)
			if err != nil || v.Config["guestinfo./a"] != "b" || !v.On() || v.Folder() == "" {
				t.Errorf("VM: %+v, %v", v, err)
			}
			gone := types.ManagedObjectReference{Type: "VirtualMachine", Value: "vm-none"}
			if _, err := se.VM(ctx, gone); !errdefs.IsNotFound(err) {
				t.Errorf("VM that is not there: %v", err)
			}
			p, err := se.Place(ctx, PlaceConfig{Pool: map[bool]string{true: "DC0_C0/Resources"}[se.IsVC()]})
			if err != nil {
				t.Fatal(err)
			}
			net := "VM Network"
			if se.IsVC() {
				net = "DC0_DVPG0"
			}
			b, err := se.NetworkBacking(ctx, p, net)
			if err != nil {
				t.Fatal(err)
			}
			_, dvs := b.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
			if dvs != se.IsVC() {
				t.Errorf("backing of %s: %T", net, b)
			}
			if _, err := se.NetworkBacking(ctx, p, "none"); !errdefs.IsNotFound(err) {
				t.Errorf("network that is not there: %v", err)
			}
			if c, err := se.PoolCapacity(ctx, p.Pool); err != nil || c.CPUs == 0 || c.MemoryBytes == 0 {
				t.Errorf("capacity: %+v, %v", c, err)
			}
			if l, err := se.Devices(ctx, vms[0].Ref); err != nil || len(l) == 0 {
				t.Errorf("devices: %v, %v", l, err)
			}
		})
	}
}
