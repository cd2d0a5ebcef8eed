package system

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestEnlarge: what is there and off is turned on, and what is not there in time is
// told.
func TestEnlarge(t *testing.T) {
	h := HotAdd{Sys: t.TempDir()}
	dir := filepath.Join(h.Sys, "devices/system")
	put := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	says := func(name, want string) {
		t.Helper()
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || strings.TrimSpace(string(b)) != want {
			t.Errorf("%s: %q, %v, want %q", name, b, err, want)
		}
	}
	short, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	put("cpu/present", "0\n")
	if err := h.Enlarge(short, spec.Size{}); !errdefs.IsNotImplemented(err) {
		t.Errorf("a kernel without hot plug: %v", err)
	}
	put("memory/block_size_bytes", "8000000\n")
	put("memory/memory0/state", "online\n")
	put("memory/memory1/state", "online\n")
	put("memory/memory32/state", "offline\n")
	put("cpu/present", "0-2\n")
	put("cpu/cpu1/online", "1\n")
	put("cpu/cpu2/online", "0\n")
	if err := h.Enlarge(short, spec.Size{CPUs: 3, MemoryMB: 384}); err != nil {
		t.Errorf("what is there: %v", err)
	}
	says("cpu/cpu2/online", "1")
	says("memory/memory32/state", "online")
	put("memory/memory33/state", "offline\n")
	if err := h.Enlarge(short, spec.Size{}); err != nil {
		t.Errorf("without waiting: %v", err)
	}
	says("memory/memory33/state", "online")
	err := h.Enlarge(short, spec.Size{CPUs: 4, MemoryMB: 1024})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "3 CPUs of 4, and 512 MiB of memory of 1024") {
		t.Errorf("what never comes: %v", err)
	}
	put("cpu/present", "0-x\n")
	if err := h.Enlarge(short, spec.Size{}); err == nil || !strings.Contains(err.Error(), "no set") {
		t.Errorf("a kernel that talks nonsense: %v", err)
	}
}
