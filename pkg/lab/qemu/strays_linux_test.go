package qemu

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// TestEndStrays has real processes for VMs: only what an earlier lab left and
// nobody took is ended, and never a process that only has the number of one.
func TestEndStrays(t *testing.T) {
	dir := t.TempDir()
	process := func(folder string, mend func(*record)) (gone <-chan struct{}) {
		cmd := exec.Command("/bin/sh", "-c", "read x")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end := make(chan struct{})
		go func() { _ = cmd.Wait(); close(end) }()
		t.Cleanup(func() { _ = in.Close(); <-end })
		started, err := startedAt(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		r := record{PID: cmd.Process.Pid, Started: started, Name: folder}
		mend(&r)
		p := Paths{Run: filepath.Join(dir, folder)}
		if err := os.Mkdir(p.Run, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := r.save(p); err != nil {
			t.Fatal(err)
		}
		return end
	}
	same := func(*record) {}
	log := logrus.New()
	log.SetOutput(io.Discard)
	// The folder of a machine is told by a hypervisor that has the same RunDir.
	m := machine.Machine{Name: "taken", Dir: "/vms/taken"}
	taken := process(filepath.Base((&Hypervisor{cfg: Config{RunDir: dir}}).paths(m).Run), same)
	stray := process("0123456789ab", same)
	other := process("ba9876543210", func(r *record) { r.Started = "1" })
	for _, d := range []string{"probe123", "elsewhere"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}

	h, err := New(Config{Binary: "/bin/sh", RunDir: dir, Accel: "tcg", Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.claimed(h.paths(m))
	later := process("aaaaaaaaaaaa", same) // started by this lab itself
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	h.EndStrays(ctx)
	select {
	case <-stray:
	case <-ctx.Done():
		t.Error("the stray VM runs")
	}
	for name, end := range map[string]<-chan struct{}{"adopted": taken, "other's": other, "new": later} {
		select {
		case <-end:
			t.Errorf("the %s process is ended", name)
		default:
		}
	}
	for name, want := range map[string]bool{"0123456789ab": false, "ba9876543210": false, "probe123": false, "aaaaaaaaaaaa": true, "elsewhere": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("folder %s: %v", name, err)
		}
	}
}
