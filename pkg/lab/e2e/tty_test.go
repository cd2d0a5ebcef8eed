//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// resize runs a shell on a terminal and changes the terminal's size: the program
// in the guest hears of it, and of ctrl-C.
func (f *fixture) resize(t *testing.T) {
	cmd := exec.Command("docker", "-H", f.vch, "--tls", "--tlscacert", f.cert(), "run", "--rm", "-it", "busybox",
		"sh", "-c", `trap 'echo size: $(stty size)' WINCH; echo ready; while :; do sleep 0.1; done`)
	cmd.Env = append(os.Environ(), f.env...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		t.Fatal(err)
	}
	defer tty.Close()
	text := make(chan []byte)
	go func() {
		defer close(text)
		for {
			b := make([]byte, 4096)
			n, err := tty.Read(b)
			if err != nil {
				return // the terminal's other side is closed: the client ended
			}
			text <- b[:n]
		}
	}()
	var seen bytes.Buffer
	await := func(want string, again <-chan time.Time) {
		t.Helper()
		limit := time.After(time.Minute)
		for !strings.Contains(seen.String(), want) {
			select {
			case b, ok := <-text:
				if !ok {
					t.Fatalf("the client ended before %q:\n%s", want, seen.String())
				}
				seen.Write(b)
			case <-again:
				if err := cmd.Process.Signal(syscall.SIGWINCH); err != nil {
					t.Fatal(err)
				}
			case <-limit:
				t.Fatalf("no %q within a minute:\n%s", want, seen.String())
			}
		}
	}
	await("ready", nil)
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 41, Cols: 113}); err != nil {
		t.Fatal(err)
	}
	// The client listens for SIGWINCH only once its first resize is answered, and the guest's "ready" can be
	// here before that: it is told again until it has asked for the new size.
	again := time.NewTicker(time.Second)
	defer again.Stop()
	await("size: 41 113", again.C)
	if _, err := tty.Write([]byte{3}); err != nil { // ctrl-C: SIGINT for what runs on the terminal
		t.Fatal(err)
	}
	for range text {
		// what is still written until the client ends
	}
	_ = cmd.Wait() // the code says it
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("docker run ended with %d, want 130 for SIGINT\n%s", code, seen.String())
	}
}
