package qemu

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

// crumbs gives its bytes one at a time.
type crumbs struct{ left []byte }

func (c *crumbs) Read(b []byte) (int, error) {
	if len(c.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:1], c.left)
	c.left = c.left[n:]
	return n, nil
}

type counted struct {
	bytes.Buffer
	writes int
	fail   error
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes++
	if c.fail != nil {
		return 0, c.fail
	}
	return c.Buffer.Write(b)
}

func TestGatheredIsWholeAndInFewWrites(t *testing.T) {
	sent := make([]byte, 300<<10) // more than may gather at once
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	var got counted
	if err := carryGathered(&got, &crumbs{sent}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), sent) {
		t.Errorf("got %d bytes, want the same %d", got.Len(), len(sent))
	}
	if got.writes > len(sent)/20 {
		t.Errorf("%d writes for %d single bytes", got.writes, len(sent))
	}
}

func TestGatheredTellsOfALostEnd(t *testing.T) {
	gone := errors.New("gone")
	if err := carryGathered(&counted{fail: gone}, &crumbs{make([]byte, 1<<20)}); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	r, w := io.Pipe()
	w.CloseWithError(gone)
	if err := carryGathered(io.Discard, r); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
