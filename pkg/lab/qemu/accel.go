package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// probeLimit is how long a kernel may take to user space under KVM before KVM is
// held for broken. TCG needs about 5 s.
const probeLimit = 20 * time.Second

// pickAccel finds out once which accelerator works. Callers wait for each other.
func (h *Hypervisor) pickAccel(ctx context.Context) (string, error) {
	h.accelMu.Lock()
	defer h.accelMu.Unlock()
	if h.accel != "" {
		return h.accel, nil
	}
	if h.cfg.ProbeISO == "" || !kvmUsable() {
		h.accel = "tcg"
		return h.accel, nil
	}
	v := verdict{Key: h.probeKey()}
	if old, err := loadVerdict(h.verdictFile()); err == nil && old.Key == v.Key {
		h.accel = old.accel()
		return h.accel, nil
	}
	err := h.probeKVM(ctx)
	if ctx.Err() != nil {
		return "", fmt.Errorf("find out whether KVM works: %w", ctx.Err()) // nothing learnt
	}
	v.KVM = err == nil
	if err != nil {
		v.Why = err.Error()
	}
	h.accel = v.accel()
	h.cfg.Log.WithField("accel", h.accel).WithField("why", v.Why).Info("found out how VMs run")
	if b, err := json.Marshal(v); err == nil {
		// Not remembered is only probed again.
		_ = os.WriteFile(h.verdictFile(), b, 0o600)
	}
	return h.accel, nil
}

// verdict of one probe.
type verdict struct {
	Key string `json:"key"`
	KVM bool   `json:"kvm"`
	Why string `json:"why,omitempty"`
}

func (v verdict) accel() string {
	if v.KVM {
		return "kvm"
	}
	return "tcg"
}

func (h *Hypervisor) verdictFile() string { return filepath.Join(h.cfg.RunDir, "accel.json") }

// probeKey names what a verdict depends on: the running kernel and the QEMU
// program.
func (h *Hypervisor) probeKey() string {
	kernel, _ := os.ReadFile("/proc/version")
	key := string(kernel)
	if path, err := exec.LookPath(h.cfg.Binary); err == nil {
		if st, err := os.Stat(path); err == nil {
			key += fmt.Sprintf("%s %d %s", path, st.Size(), st.ModTime().UTC().Format(time.RFC3339))
		}
	}
	return key
}

func loadVerdict(file string) (verdict, error) {
	var v verdict
	b, err := os.ReadFile(file)
	if err != nil {
		return v, err
	}
	return v, json.Unmarshal(b, &v)
}

func kvmUsable() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// probeKVM boots ProbeISO under KVM until its user space opens a guest RPC port.
func (h *Hypervisor) probeKVM(ctx context.Context) error {
	dir, err := os.MkdirTemp(h.cfg.RunDir, probePrefix)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := machine.Machine{Name: "kvm-probe", UUID: uuid.NewString(), Dir: dir, CPUs: 1, MemoryMB: 256, CDROM: h.cfg.ProbeISO,
		Serials: []machine.Serial{{}, {}, {}}}
	i, err := h.start(ctx, m, mute{}, "kvm")
	if err != nil {
		return err
	}
	defer func() {
		i.Kill()
		<-i.done
	}()
	t := time.NewTimer(probeLimit)
	defer t.Stop()
	select {
	case <-i.userspace:
		return nil
	case <-i.done:
		return fmt.Errorf("guest ended: %w", errors.Join(i.err))
	case <-t.C:
		return fmt.Errorf("no user space within %s", probeLimit)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mute is a machine.Guest with no keys that nobody listens to.
type mute struct{}

func (mute) InfoGet(string) (string, bool) { return "", false }
func (mute) InfoSet(string, string) error  { return nil }
func (mute) Tools(bool)                    {}
func (mute) Addresses([]machine.GuestNIC)  {}
func (mute) Hostname(string)               {}
