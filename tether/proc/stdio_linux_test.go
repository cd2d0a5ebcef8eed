package proc

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"
)

// TestTailWhole: nothing of an output is lost when its process ends while it is
// read, whichever of the two is first.
func TestTailWhole(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 4096) // 64 KiB, a pipe full
	for range 50 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
		w.Close()
		tail := &tail{f: r}
		read, settled := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(settled)
			for {
				select {
				case <-read:
					return
				default:
					tail.settle()
				}
			}
		}()
		var got bytes.Buffer
		if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, tail, make([]byte, 1024)); err != nil {
			t.Fatal(err)
		}
		close(read)
		<-settled
		r.Close()
		if !bytes.Equal(got.Bytes(), text) {
			t.Fatalf("%d bytes of %d", got.Len(), len(text))
		}
	}
}

// TestTailOfATalkative: a descendant that writes on and on does not keep an output of
// a process that has ended open, and all of the process's own is read, late or not.
func TestTailOfATalkative(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	own := bytes.Repeat([]byte("x"), 10000)
	if _, err := w.Write(own); err != nil {
		t.Fatal(err)
	}
	talked := make(chan struct{})
	go func() {
		defer close(talked)
		for {
			if _, err := w.Write([]byte("y")); err != nil {
				return // nobody listens any more
			}
		}
	}()
	tail := &tail{f: r}
	tail.settle()
	tail.seeEnd()
	tail.since = time.Now().Add(-time.Hour) // its reader was held up
	var got bytes.Buffer
	if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, tail, make([]byte, 1024)); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(got.Bytes(), own) {
		t.Errorf("%d bytes, want the process's own", got.Len())
	}
	r.Close()
	<-talked
}
