package qemu

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// probePrefix begins the names of the folders in RunDir that probes boot in.
const probePrefix = "probe"

// findStrays notes what an earlier process left in RunDir.
func (h *Hypervisor) findStrays() {
	list, _ := os.ReadDir(h.cfg.RunDir) // New has made it
	for _, e := range list {
		if e.IsDir() {
			h.strays = append(h.strays, filepath.Join(h.cfg.RunDir, e.Name()))
		}
	}
}

// claimed notes that a VM's folder is no stray: it is adopted, or started anew.
func (h *Hypervisor) claimed(p Paths) {
	h.straysMu.Lock()
	defer h.straysMu.Unlock()
	h.strays = slices.DeleteFunc(h.strays, func(dir string) bool { return dir == p.Run })
}

// EndStrays ends the VMs that an earlier process left and nobody adopted: those
// that it started and did not come to note anywhere else, and its probe of KVM.
// To be called once all others are adopted.
func (h *Hypervisor) EndStrays(ctx context.Context) {
	h.straysMu.Lock()
	dirs := h.strays
	h.strays = nil
	h.straysMu.Unlock()
	for _, dir := range dirs {
		if r, err := loadRecord(Paths{Run: dir}); err == nil {
			h.endStray(ctx, r)
		} else if !strings.HasPrefix(filepath.Base(dir), probePrefix) && len(filepath.Base(dir)) != keyLen {
			continue // none of ours
		}
		_ = os.RemoveAll(dir) // what stays is in nobody's way
	}
}

func (h *Hypervisor) endStray(ctx context.Context, r record) {
	proc, err := openProcess(r.PID, r.Started)
	if err != nil {
		return // ended long since
	}
	defer proc.close()
	log := h.cfg.Log.WithField("vm", r.Name).WithField("pid", r.PID)
	if err := proc.signal(syscall.SIGKILL); err != nil {
		log.WithError(err).Warn("VM that nobody knows can't be ended")
		return
	}
	if err := proc.wait(ctx); err == nil {
		log.Info("ended a VM that nobody knows")
	}
}
