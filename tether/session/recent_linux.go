package session

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

// recentBytes is how much of the output is kept for those who follow the log: the
// time between their reading of the file and their following is bridged by it.
const recentBytes = 256 << 10

// recent holds the last frames of this run and gives them to followers. It never
// holds the writer up: a follower that falls behind what is kept has to read the
// file again.
type recent struct {
	run uint64

	mu      sync.Mutex // guards what follows
	frames  []logframe.Frame
	size    int
	changed chan struct{} // closed and replaced at each frame
}

func newRecent(run uint64) *recent { return &recent{run: run, changed: make(chan struct{})} }

func (r *recent) add(f logframe.Frame) {
	f.Data = bytes.Clone(f.Data)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames = append(r.frames, f)
	r.size += len(f.Data)
	for r.size > recentBytes && len(r.frames) > 1 || len(r.frames) > 4096 {
		r.size -= len(r.frames[0].Data)
		r.frames[0].Data = nil
		r.frames = r.frames[1:]
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

// after gives the frames from sequence number next on. gap means that some of
// them are not kept any more.
func (r *recent) after(next uint64) (frames []logframe.Frame, changed <-chan struct{}, gap bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.frames) == 0 {
		return nil, r.changed, next > 0
	}
	first := r.frames[0].Seq
	if next < first {
		return nil, r.changed, true
	}
	skip := min(next-first, uint64(len(r.frames)))
	return append(frames, r.frames[skip:]...), r.changed, false
}

// follow writes frames until the run has ended (nil), or the follower is too slow
// or asks for what is not kept (ErrUnavailable: read the file).
func (r *recent) follow(ctx context.Context, q tetherproto.LogRequest, w io.Writer) error {
	next := uint64(0)
	switch {
	case q.FromStart:
		r.mu.Lock()
		if len(r.frames) > 0 {
			next = r.frames[0].Seq
		}
		r.mu.Unlock()
	case q.After.Run == r.run:
		next = q.After.Seq + 1
	}
	var buf []byte
	for {
		frames, changed, gap := r.after(next)
		if gap {
			return fmt.Errorf("frame %d of run %d is not kept: %w", next, r.run, errdefs.ErrUnavailable)
		}
		buf = buf[:0]
		ended := false
		for _, f := range frames {
			var err error
			if buf, err = f.Append(buf); err != nil {
				return err
			}
			next, ended = f.Seq+1, f.Kind == logframe.KindEnd
		}
		if len(buf) > 0 {
			if _, err := w.Write(buf); err != nil {
				return fmt.Errorf("write log frames: %w", err)
			}
		}
		if ended {
			return nil
		}
		if len(frames) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
