package storage_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/nfs/nfstest"
	"github.com/vic-engine/vic/pkg/spec"
)

// withShare has the store "nfs" on a server of its own besides those of newVolumes.
func withShare(t *testing.T) (*volumes, *nfstest.Server) {
	t.Helper()
	s, err := nfstest.Serve(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // some test has closed it
	f := newVolumes(t)
	f.stores["nfs"] = fmt.Sprintf("nfs://127.0.0.1/export?uid=%d&gid=%d&port=%d", os.Getuid(), os.Getgid(), s.Port())
	f.restart("vch-1")
	return f, s
}

func TestShareVolumes(t *testing.T) {
	f, s := withShare(t)
	v, err := f.CreateVolume(t.Context(), spec.VolumeRequest{Name: "shared", Options: map[string]string{"VolumeStore": "nfs"}, Labels: map[string]string{"a": "b"}})
	if err != nil {
		t.Fatal(err)
	}
	want := spec.Volume{
		Name: "shared", Driver: "vsphere", Store: "nfs", Type: spec.MountNFS, Source: "127.0.0.1:/export/volumes/shared/data",
		Share: "nfs://127.0.0.1/export", MountOptions: fmt.Sprintf("port=%[1]d,mountport=%[1]d", s.Port()), Access: "read-write",
		Created: f.now, Labels: map[string]string{"a": "b"}, Options: map[string]string{"VolumeStore": "nfs"},
	}
	if d := cmp.Diff(want, v); d != "" {
		t.Error(d)
	}
	folder := filepath.Join(s.Dir, "volumes/shared")
	if err := os.WriteFile(filepath.Join(folder, "data/file"), []byte("of a container"), 0o600); err != nil {
		t.Error(err)
	}
	if list, err := os.ReadDir(folder); err != nil || len(list) != 2 || list[1].Name() != "volume.json" {
		t.Errorf("%v, %v", list, err)
	}
	// A VCH made anew has it again, and so does one that makes it by its name.
	f.restart("another VCH")
	if got, err := f.Volume("shared"); err != nil || !cmp.Equal(got, v) {
		t.Errorf("%+v, %v", got, err)
	}
	// What only a disk has is refused, all of it at once.
	_, err = f.CreateVolume(t.Context(), request("other", "VolumeStore=nfs", "size=1g", "fstype=xfs"))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "size") || !strings.Contains(err.Error(), "fstype") {
		t.Errorf("got %v", err)
	}
	if _, err := f.CreateVolume(t.Context(), request("other", "clone-from=shared")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a copy: %v", err)
	}
	if err := f.GrowVolume(t.Context(), "shared", 2<<30); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "NFS share") {
		t.Errorf("grow: %v", err)
	}
	// Whoever has it keeps it.
	f.mu.Lock()
	f.containers = []*spec.View{{Container: spec.Container{ID: strings.Repeat("a", 64), Name: "web", Mounts: []spec.Mount{{Type: spec.MountNFS, Name: "shared", Source: v.Source, Path: "/x"}}}}}
	f.mu.Unlock()
	if err := f.RemoveVolume(t.Context(), "shared"); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "web") {
		t.Errorf("got %v", err)
	}
	f.mu.Lock()
	f.containers = nil
	f.mu.Unlock()
	if err := f.RemoveVolume(t.Context(), "shared"); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(s.Dir, "volumes")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestShareIsLost: its volumes are shown as unavailable, the others go on, and it
// is found again.
func TestShareIsLost(t *testing.T) {
	f, s := withShare(t)
	f.make("shared", "VolumeStore=nfs")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f.restart("vch-1")
	_, warnings := f.Volumes.Volumes()
	if len(warnings) != 1 || !strings.Contains(warnings[0], `"nfs"`) || !strings.Contains(warnings[0], "cannot be used") {
		t.Errorf("warnings %q", warnings)
	}
	f.make("data", "size=16m")
	if _, err := f.CreateVolume(t.Context(), request("more", "VolumeStore=nfs")); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
	// A container has it: that much is known.
	f.mu.Lock()
	f.containers = []*spec.View{{Container: spec.Container{ID: strings.Repeat("a", 64), Mounts: []spec.Mount{
		{Type: spec.MountNFS, Name: "shared", Source: "127.0.0.1:/export/volumes/shared/data", Path: "/x"}}}}}
	f.mu.Unlock()
	if v, err := f.Volume("shared"); err != nil || v.Unavailable == "" || v.Store != "nfs" || v.Type != spec.MountNFS {
		t.Errorf("%+v, %v", v, err)
	}
	again, err := nfstest.Serve(s.Dir, fmt.Sprintf("127.0.0.1:%d", s.Port()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if v, err := f.CreateVolume(context.Background(), request("more", "VolumeStore=nfs")); err != nil || v.Unavailable != "" {
		t.Errorf("%+v, %v", v, err)
	}
	if v, err := f.Volume("shared"); err != nil || v.Unavailable != "" {
		t.Errorf("%+v, %v", v, err)
	}
}

// Two shares of one place are one store, whatever their options.
func TestSharesOfOnePlace(t *testing.T) {
	f := newVolumes(t)
	f.stores = map[string]string{"aa": "nfs://127.0.0.1/x?port=1", "bb": "nfs://127.0.0.1/x/?uid=1&port=1", "cc": "nfs:///x"}
	f.restart("vch-1")
	_, warnings := f.Volumes.Volumes()
	if all := strings.Join(warnings, "\n"); !strings.Contains(all, `same place as store "aa"`) || !strings.Contains(all, "no host") {
		t.Errorf("warnings %q", warnings)
	}
}
