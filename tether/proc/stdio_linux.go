package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

// stdio is both ends of a process's streams.
type stdio struct {
	stdin          io.WriteCloser
	stdout, stderr io.Reader
	master         *os.File // with a terminal

	child  [3]*os.File
	ours   once // the parent's ends
	theirs once // the child's ends
	tails  []*tail
}

// openStdio makes a terminal or pipes and gives them to the process's user, so
// that it may open /dev/stdout again.
func openStdio(root string, p spec.Process, who account) (*stdio, error) {
	s := &stdio{}
	var err error
	if p.TTY {
		err = s.terminal(root, p)
	} else {
		err = s.pipes(root, p)
	}
	if err != nil {
		s.closeChild()
		s.closeParent()
		return nil, err
	}
	for _, f := range s.theirs.files {
		if who.uid != 0 && f.Name() != os.DevNull {
			_ = f.Chown(int(who.uid), -1) // what cannot be chowned stays usable by its descriptor
		}
	}
	return s, nil
}

func (s *stdio) terminal(root string, p spec.Process) error {
	master, slave, err := openTerminal(root, p.Rows, p.Cols)
	if err != nil {
		return err
	}
	s.master = master
	s.ours.files, s.theirs.files = []*os.File{master}, []*os.File{slave}
	s.child = [3]*os.File{slave, slave, slave}
	s.stdin = ttyInput{master}
	s.stdout, s.stderr = s.reader(master), strings.NewReader("")
	return nil
}

func (s *stdio) pipes(root string, p spec.Process) error {
	pipe := func() (r, w *os.File, err error) {
		r, w, err = os.Pipe()
		if err != nil {
			return nil, nil, fmt.Errorf("make pipe: %w", err)
		}
		return r, w, nil
	}
	if p.OpenStdin {
		r, w, err := pipe()
		if err != nil {
			return err
		}
		s.child[0], s.stdin = r, w
		s.theirs.files, s.ours.files = append(s.theirs.files, r), append(s.ours.files, w)
	} else {
		null, err := os.Open(filepath.Join(root, os.DevNull))
		if err != nil {
			null, err = os.Open(os.DevNull)
		}
		if err != nil {
			return fmt.Errorf("open stdin: %w", err)
		}
		s.child[0], s.stdin = null, noInput{}
		s.theirs.files = append(s.theirs.files, null)
	}
	for i, to := range []*io.Reader{&s.stdout, &s.stderr} {
		r, w, err := pipe()
		if err != nil {
			return err
		}
		s.child[i+1], *to = w, s.reader(r)
		s.theirs.files, s.ours.files = append(s.theirs.files, w), append(s.ours.files, r)
	}
	return nil
}

func (s *stdio) reader(f *os.File) io.Reader {
	t := &tail{f: f}
	s.tails = append(s.tails, t)
	return t
}

// files gives the child's descriptors. They must block: the flag is the open
// file's, and programs do not expect EAGAIN from their stdio.
func (s *stdio) files() []uintptr {
	fds := make([]uintptr, len(s.child))
	for i, f := range s.child {
		fds[i] = f.Fd()
		_ = unix.SetNonblock(int(fds[i]), false) // fails only for a bad descriptor
	}
	return fds
}

func (s *stdio) closeChild()  { s.theirs.close() }
func (s *stdio) closeParent() { s.ours.close() }

// settle makes the readers end when nothing comes any more.
func (s *stdio) settle() {
	for _, t := range s.tails {
		t.settle()
	}
}

// quiet is how long an output must be silent after its process's end to count as
// ended, when a descendant keeps it open.
const quiet = 200 * time.Millisecond

// lastWords is how long after its process's end an output is read that a descendant
// goes on writing to, Docker's (daemon/monitor.go, ProcessEvent). What the process
// itself wrote is read however long that takes.
const lastWords = 2 * time.Second

// tail reads an output to its end.
type tail struct {
	f     *os.File
	ended atomic.Bool // the process has ended

	// These are used by Read alone.
	since time.Time // when Read saw that; zero: it has not
	own   int       // bytes that there were to read then, the process's last ones among them; less what was read since
}

// seeEnd notes what there is to read at the process's end.
func (t *tail) seeEnd() {
	t.since = time.Now()
	raw, err := t.f.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil {
			t.own = n
		}
	})
}

func (t *tail) settle() {
	t.ended.Store(true)
	_ = t.f.SetReadDeadline(time.Now()) // wakes a Read, which then looks again
}

func (t *tail) Read(b []byte) (int, error) {
	for {
		ended := t.ended.Load()
		limit := time.Now().Add(quiet)
		if ended {
			if t.since.IsZero() {
				t.seeEnd()
			}
			if t.own <= 0 && time.Since(t.since) > lastWords {
				return 0, io.EOF
			}
			_ = t.f.SetReadDeadline(limit)
		}
		n, err := t.f.Read(b)
		if ended && n > 0 {
			t.own -= n
		}
		switch {
		case n > 0 || err == nil:
			return n, nil
		case errors.Is(err, os.ErrDeadlineExceeded) && (!ended || time.Now().Before(limit)):
			continue // settle's deadline, not ours
		case errors.Is(err, os.ErrDeadlineExceeded):
			// On a busy machine it may have passed before the read: what is there
			// already counts.
			return t.pending(b)
		case errors.Is(err, unix.EIO), errors.Is(err, os.ErrClosed):
			// EIO: the last user of the terminal has closed it.
			return 0, io.EOF
		}
		return n, err
	}
}

// pending gives what can be read without waiting, io.EOF for nothing.
func (t *tail) pending(b []byte) (n int, err error) {
	_ = t.f.SetReadDeadline(time.Time{}) // one that has passed refuses every read
	raw, err := t.f.SyscallConn()
	if err != nil {
		return 0, io.EOF // it is closed
	}
	rerr := raw.Read(func(fd uintptr) bool {
		n, err = unix.Read(int(fd), b)
		return true
	})
	if rerr != nil || err != nil || n <= 0 {
		return 0, io.EOF
	}
	return n, nil
}

// ttyInput is a terminal's input, which has no end of its own.
type ttyInput struct{ io.Writer }

func (ttyInput) Close() error { return nil }

// noInput is the stdin of a process that has none.
type noInput struct{}

func (noInput) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
func (noInput) Close() error              { return nil }
