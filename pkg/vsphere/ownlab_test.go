package vsphere

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/disk/vmdk"
	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/machine"
)

// noVMs is a hypervisor that is never asked to start anything.
type noVMs struct{}

func (noVMs) Start(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, errors.New("no VMs here")
}

func (noVMs) Adopt(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, os.ErrNotExist
}

// ownLab keeps the bytes of disks, and refuses what vSphere refuses.
func ownLab(t *testing.T, mode lab.Mode) (l *lab.Lab, dir string, s *Session, d *Datastore) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	dir = t.TempDir()
	l, err := lab.New(lab.Config{Mode: mode, StateDir: dir, Listen: "127.0.0.1:0", Hypervisor: noVMs{}, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	await(t, l.Ready())
	s, err = Dial(t.Context(), Config{URL: l.URL().String(), User: l.User(), Password: l.Password(), Thumbprint: l.Thumbprint()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Logout(context.Background()) })
	p, err := s.Place(t.Context(), PlaceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	d, err = s.Datastore(t.Context(), DatastoreConfig{Name: "mydatastore", Pool: &p.Pool, Folder: &p.Folder, Host: p.Host})
	if err != nil {
		t.Fatal(err)
	}
	return l, dir, s, d
}

func TestImportKeepsBytes(t *testing.T) {
	for _, mode := range []lab.Mode{lab.ModeESXi, lab.ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) {
			l, dir, s, d := ownLab(t, mode)
			ctx := t.Context()
			raw := make([]byte, 1<<20)
			_, _ = rand.Read(raw[:100_000])
			var stream bytes.Buffer
			if _, err := vmdk.Write(ctx, &stream, bytes.NewReader(raw), int64(len(raw)), vmdk.Options{}); err != nil {
				t.Fatal(err)
			}
			if err := d.Mkdir(ctx, d.Path("disks")); err != nil {
				t.Fatal(err)
			}
			before := inventory(t, s, d)
			size, capacity := int64(stream.Len()), int64(len(raw))
			if err := d.ImportDisk(ctx, d.Path("disks/a.vmdk"), bytes.NewReader(stream.Bytes()), size, capacity); err != nil {
				t.Fatal(err)
			}
			if err := d.CopyDisk(ctx, d.Path("disks/a.vmdk"), d.Path("disks/b.vmdk")); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"a", "b"} {
				got, err := os.ReadFile(filepath.Join(dir, "datastores", "mydatastore", "disks", name+"-flat.vmdk"))
				if err != nil || !bytes.Equal(got, raw) {
					t.Errorf("disk %s: %d bytes, the same: %v, %v", name, len(got), bytes.Equal(got, raw), err)
				}
				if err := d.DeleteDisk(ctx, d.Path("disks/"+name+".vmdk")); err != nil {
					t.Error(err)
				}
			}
			for what, r := range map[string]io.Reader{
				"short":  bytes.NewReader(stream.Bytes()[:size/2]),
				"broken": io.MultiReader(bytes.NewReader(stream.Bytes()[:size/2]), iotest.ErrReader(errors.New("source broke"))),
				"wrong":  bytes.NewReader(make([]byte, size)),
			} {
				if err := d.ImportDisk(ctx, d.Path("disks/a.vmdk"), r, size, capacity); err == nil {
					t.Errorf("%s stream was imported", what)
				}
			}
			l.FillDatastore("mydatastore", true)
			err := d.ImportDisk(ctx, d.Path("disks/a.vmdk"), bytes.NewReader(stream.Bytes()), size, capacity)
			if !errdefs.IsResourceExhausted(err) {
				t.Errorf("import to a full datastore: %v", err)
			}
			if err := d.Put(ctx, d.Path("disks/x"), strings.NewReader("xx"), 2); !errdefs.IsResourceExhausted(err) {
				t.Errorf("put to a full datastore: %v", err)
			}
			l.FillDatastore("mydatastore", false)
			if err := d.Delete(ctx, d.Path("disks/x")); err != nil {
				t.Error(err)
			}
			if after := inventory(t, s, d); after != before {
				t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

func TestOwnLabFaults(t *testing.T) {
	l, _, s, d := ownLab(t, lab.ModeESXi)
	ctx := t.Context()
	if _, err := Dial(ctx, Config{URL: l.URL().String(), User: l.User(), Password: "no", Thumbprint: l.Thumbprint()}); !errdefs.IsUnauthorized(err) {
		t.Errorf("wrong password: %v", err)
	}
	l.DropSessions()
	if err := d.Put(ctx, d.Path("x"), strings.NewReader("x"), 1); err != nil {
		t.Errorf("put after the session was lost: %v", err)
	}
	l.DropSessions()
	if r, _, err := d.Get(ctx, d.Path("x"), 0); err != nil {
		t.Errorf("get after the session was lost: %v", err)
	} else {
		r.Close()
	}
	subscribed, ended := make(chan struct{}), make(chan error, 1)
	p, err := s.Place(ctx, PlaceConfig{})
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- s.Watch(ctx, p.Folder, func() { close(subscribed) }, func([]Change) {}) }()
	await(t, subscribed)
	l.DropSessions()
	if err := await(t, ended); err == nil {
		t.Error("feed ended without an error")
	}
	vm := types.VirtualMachineConfigSpec{Name: "x", GuestId: "otherGuest64", Files: &types.VirtualMachineFileInfo{VmPathName: d.Path("none/../")}}
	l.DisconnectHost(true)
	if _, err := s.CreateVM(ctx, p, vm); err == nil {
		t.Error("VM was made on a host that is not there")
	}
	l.DisconnectHost(false)
}
