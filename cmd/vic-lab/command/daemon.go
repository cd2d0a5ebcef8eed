package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// readyVar names the file descriptor on which the daemon says that it is up: 3,
// behind the standard ones.
const readyVar = "VIC_LAB_READY_FD"

// upLimit is how long coming up may take: the first time, images are built and
// KVM is probed.
const upLimit = 5 * time.Minute

func executable() (string, error) { return os.Executable() }

// daemon runs this program again, in a session of its own, and waits until it
// serves.
func daemon(ctx context.Context, t Terminal, o *upOptions) (info, error) {
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return info{}, err
	}
	exe, err := executable()
	if err != nil {
		return info{}, err
	}
	log, err := os.OpenFile(filepath.Join(o.dir, logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return info{}, err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return info{}, err
	}
	defer r.Close()
	_ = os.Remove(filepath.Join(o.dir, infoFile))
	cmd := exec.Command(exe, o.args()...) // not CommandContext: it outlives us
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles, cmd.Dir = log, log, []*os.File{w}, o.dir
	cmd.Env = append(os.Environ(), readyVar+"=3")
	cmd.SysProcAttr = ownSession()
	fmt.Fprintln(t.Err, "starting the lab …")
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return info{}, err
	}
	_ = w.Close()
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(r).ReadString('\n')
		said <- strings.TrimSpace(line)
	}()
	timer := time.NewTimer(upLimit)
	defer timer.Stop()
	select {
	case line := <-said:
		if line != "ready" {
			_ = cmd.Wait()
			return info{}, fmt.Errorf("the lab did not come up: %s (log: %s): %w", lastLine(log.Name(), line), log.Name(), errdefs.ErrUnavailable)
		}
	case <-ctx.Done():
		return info{}, errors.Join(ctx.Err(), cmd.Process.Signal(os.Interrupt))
	case <-timer.C:
		return info{}, errors.Join(fmt.Errorf("the lab is not up after %s: see %s: %w", upLimit, log.Name(), errdefs.ErrUnavailable), cmd.Process.Kill())
	}
	if err := cmd.Process.Release(); err != nil {
		return info{}, err
	}
	return readInfo(o.dir)
}

// args are the daemon's.
func (o *upOptions) args() []string {
	a := []string{"up", "--foreground", "--state", o.dir, "--mode", o.mode, "--subnet", o.subnet, "--listen", o.listen, "--registry-listen", o.registry,
		"--accel", o.accel, "--probe-iso", o.probe, "--images", o.images, "--datastore-capacity", o.capacity}
	for _, d := range o.datastores {
		a = append(a, "--datastore", d)
	}
	for flag, on := range map[string]bool{"--no-registry": o.noRegistry, "--no-forwards": o.noForwards, "--debug": o.debug} {
		if on {
			a = append(a, flag)
		}
	}
	return a
}

// lastLine is what the daemon said last.
func lastLine(file, said string) string {
	if said != "" {
		return said
	}
	f, err := os.Open(file)
	if err != nil {
		return "no reason given"
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil && fi.Size() > 4096 {
		_, _ = f.Seek(-4096, io.SeekEnd)
	}
	b, _ := io.ReadAll(f)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// tellReady says to who started us that we serve. Without such, nothing.
func tellReady(t Terminal) {
	if t.Env(readyVar) != "3" {
		return
	}
	f := os.NewFile(3, "ready")
	fmt.Fprintln(f, "ready")
	_ = f.Close()
}
