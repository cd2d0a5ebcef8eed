package vsphere

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab"
)

func TestStoragePolicy(t *testing.T) {
	_, _, _, esxi := ownLab(t, lab.ModeESXi)
	if _, err := esxi.StoragePolicy(t.Context(), "vSAN Default Storage Policy"); !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "without vCenter") {
		t.Errorf("on an ESXi: %v", err)
	}
	_, _, _, d := ownLab(t, lab.ModeVCenter)
	id, err := d.StoragePolicy(t.Context(), "vSAN Default Storage Policy")
	if err != nil || id == "" {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := d.StoragePolicy(t.Context(), "gold"); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), `"gold"`) || !strings.Contains(err.Error(), `"vSAN Default Storage Policy"`) {
		t.Errorf("no such policy: %v", err)
	}
}
