package qemu

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// listenAt makes a socket; its name stays when it is closed.
func listenAt(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// A card's socket that comes late, and is bound before it listens, is waited for.
func TestSocketOfCardComesLate(t *testing.T) {
	dir := t.TempDir()
	listenAt(t, filepath.Join(dir, "bound")).Close()
	listenAt(t, filepath.Join(dir, "net1"))
	at := []string{"none", "bound", "net1"}
	tries := 0
	c, err := untilListening(t.Context(), func() (net.Conn, error) {
		path := filepath.Join(dir, at[tries])
		tries++
		return dialUnix(t.Context(), path)
	})
	if err != nil {
		t.Fatalf("after %d tries: %v", tries, err)
	}
	c.Close()
	if tries != len(at) {
		t.Errorf("%d tries, want %d", tries, len(at))
	}
}

func TestSocketOfCardNeverComes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := dialListening(ctx, filepath.Join(t.TempDir(), "net1")); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a socket: %v", err)
	}
	broken := errors.New("broken")
	tries := 0
	_, err := untilListening(t.Context(), func() (net.Conn, error) { tries++; return nil, broken })
	if !errors.Is(err, broken) || tries != 1 {
		t.Errorf("another error: %v after %d tries", err, tries)
	}
}
