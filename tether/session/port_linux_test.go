package session

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/creack/pty"
)

// testPort is a port, and the other end of its line.
func testPort(t *testing.T) (*port, *os.File) {
	t.Helper()
	far, near, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	near.Close()
	rw, err := OpenLine(near.Name())()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rw.Close() })
	return rw.(*port), far
}

// TestPortGathers sends as a UART does, few bytes at a time: all of them arrive,
// in reads of more than that.
func TestPortGathers(t *testing.T) {
	p, far := testPort(t)
	sent := make([]byte, 32<<10)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	go func() {
		for b := sent; len(b) > 0; b = b[14:] {
			if len(b) < 14 {
				_, _ = far.Write(b)
				return
			}
			_, _ = far.Write(b[:14])
		}
	}()
	var got []byte
	buf, reads := make([]byte, 4096), 0
	for len(got) < len(sent) {
		n, err := p.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
		reads++
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes arrived than were sent")
	}
	if reads > len(sent)/14/2 {
		t.Errorf("%d reads for %d pieces", reads, len(sent)/14)
	}
}

// TestPortWritesAll: a full device is waited for.
func TestPortWritesAll(t *testing.T) {
	p, far := testPort(t)
	sent := bytes.Repeat([]byte("0123456789abcde\n"), 4<<10)
	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, len(sent))
		n, _ := io.ReadFull(far, b)
		got <- b[:n]
	}()
	if n, err := p.Write(sent); n != len(sent) || err != nil {
		t.Fatal(n, err)
	}
	if !bytes.Equal(<-got, sent) {
		t.Error("other bytes arrived than were written")
	}
}

// TestPortCloseEndsBoth: a read that waits and a write that waits return.
func TestPortCloseEndsBoth(t *testing.T) {
	p, _ := testPort(t)
	ended := make(chan error, 2)
	go func() {
		_, err := p.Read(make([]byte, 1))
		ended <- err
	}()
	go func() { // nobody reads at the other end
		_, err := p.Write(make([]byte, 1<<20))
		ended <- err
	}()
	time.Sleep(20 * time.Millisecond) // so that they wait; any other order is fine too
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
	}
	if err := p.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
}
