package qemu

import (
	"errors"
	"io"
	"sync"
	"time"
)

// For how long what a guest writes gathers: QEMU gives it byte by byte, and a
// packet for each would cost the VM that gets them more than the bytes cost the
// one that sends. Short for what comes alone, longer while a stream goes on.
const (
	gatherFirst  = time.Millisecond
	gatherStream = 4 * time.Millisecond
	streamBytes  = 128 // in one gatherFirst
)

// gatherMost is how much may gather before the guest has to wait.
const gatherMost = 64 << 10

// gathered is what was read and not yet written.
type gathered struct {
	more chan struct{} // capacity 1: there is something, or the end
	room chan struct{} // capacity 1: something was taken

	mu    sync.Mutex // guards what follows
	bytes []byte
	ended bool
}

// carryGathered copies like io.Copy, with a moment between two writes. It reads
// meanwhile: a socket holds only some hundred single bytes, and QEMU waits when
// it is full.
func carryGathered(dst io.Writer, src io.Reader) error {
	g := &gathered{more: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	written := make(chan error, 1)
	go func() { written <- g.writeTo(dst) }()
	buf := make([]byte, 4<<10)
	for {
		n, err := src.Read(buf)
		held := g.put(buf[:n], err != nil)
		if err != nil {
			if werr := <-written; werr != nil || errors.Is(err, io.EOF) {
				return werr
			}
			return err
		}
		select {
		case err := <-written: // dst is gone
			return err
		default:
		}
		for held >= gatherMost {
			select {
			case <-g.room:
				held = g.put(nil, false)
			case err := <-written:
				return err
			}
		}
	}
}

// put adds b and tells how much waits.
func (g *gathered) put(b []byte, last bool) int {
	g.mu.Lock()
	g.bytes, g.ended = append(g.bytes, b...), g.ended || last
	n := len(g.bytes)
	g.mu.Unlock()
	notify(g.more)
	return n
}

// take gives what waits; spare is memory to gather in next.
func (g *gathered) take(spare []byte) (b []byte, ended bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, g.bytes = g.bytes, spare[:0]
	return b, g.ended
}

func (g *gathered) writeTo(dst io.Writer) error {
	pause := time.NewTimer(gatherFirst)
	defer pause.Stop()
	var spare []byte
	for {
		<-g.more
		b, ended := g.take(spare)
		notify(g.room)
		if len(b) > 0 {
			if _, err := dst.Write(b); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		spare = b
		if len(b) < streamBytes {
			pause.Reset(gatherFirst)
		} else {
			pause.Reset(gatherStream)
		}
		<-pause.C
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
