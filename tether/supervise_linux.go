package tether

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/proc"
)

// How soon a program that died is started again: at once at first, then after
// doubling waits; one that ran for backoffReset counts as healthy.
const (
	backoffMin   = 500 * time.Millisecond
	backoffMax   = 30 * time.Second
	backoffReset = time.Minute
)

// backoff is how long to wait before the next start, given the last wait and how
// long the program ran. Pure.
func backoff(last, ran time.Duration) time.Duration {
	if last == 0 || ran >= backoffReset {
		return backoffMin
	}
	return min(2*last, backoffMax)
}

// supervisor keeps one program of the appliance running.
type supervisor struct {
	vm      *VM
	process spec.Process
	out     io.Writer

	done chan struct{} // closed when run returns

	mu      sync.Mutex // guards what follows
	current *proc.Process
	ending  bool
}

func newSupervisor(vm *VM, p spec.Process, out io.Writer) *supervisor {
	return &supervisor{vm: vm, process: p, out: out, done: make(chan struct{})}
}

// run starts the program, and again whenever it ends, until stop.
func (s *supervisor) run(ctx context.Context) {
	defer close(s.done)
	log := s.vm.log.WithField(spec.FieldPath, s.process.Path)
	var wait time.Duration
	for {
		begin := time.Now()
		err := s.once()
		if s.isEnding() {
			return
		}
		wait = backoff(wait, time.Since(begin))
		log.WithError(err).WithField("again in", wait).Error("program ended")
		_ = s.vm.rpc.Set(guestinfo.KeyEngineState, "FAILED: vic-engine ended: "+err.Error())
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// once runs the program to its end; the error says how it ended.
func (s *supervisor) once() error {
	s.mu.Lock()
	if s.ending {
		s.mu.Unlock()
		return nil
	}
	p, err := proc.Start(s.vm.reaper, proc.Options{Root: "/", Process: s.process})
	if err != nil {
		s.mu.Unlock()
		return err
	}
	s.current = p
	s.mu.Unlock()
	s.vm.log.WithField(spec.FieldPath, s.process.Path).WithField("pid", p.Pid()).Info("started")

	var wg sync.WaitGroup
	for _, r := range []io.Reader{p.Stdout(), p.Stderr()} {
		wg.Go(func() { s.copyLines(r) })
	}
	<-p.Done()
	wg.Wait()
	p.Release()
	st := p.Status()
	if st.Signal != 0 {
		return fmt.Errorf("killed by signal %d", st.Signal)
	}
	return fmt.Errorf("exit status %d", st.Code)
}

// copyLines writes the program's output to its log and line by line to the
// console.
func (s *supervisor) copyLines(r io.Reader) {
	b := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := b.ReadSlice('\n')
		if len(line) > 0 {
			if _, err := s.out.Write(line); err != nil {
				s.vm.log.WithError(err).Warn("log not written")
			}
			s.vm.log.Info(string(line[:min(len(line), maxRecord)]))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (s *supervisor) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ending
}

// stop ends the program: SIGTERM, and what is left after grace is the caller's to
// kill.
func (s *supervisor) stop(grace time.Duration) {
	s.mu.Lock()
	s.ending = true
	p := s.current
	s.mu.Unlock()
	if p == nil {
		return
	}
	_ = p.Signal("SIGTERM") // one that is gone needs none
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.Done():
	case <-timer.C:
	}
}

// maxEngineLog is when a log file is put aside; one older file is kept.
const maxEngineLog = 20 << 20

// rotated is a log file of bounded size: at max bytes it becomes NAME.1.
type rotated struct {
	name string
	max  int64

	mu   sync.Mutex // guards what follows
	f    *os.File
	size int64
}

func openLog(name string, limit int64) (*rotated, error) {
	r := &rotated{name: name, max: limit}
	return r, r.open()
}

func (r *rotated) open() error {
	f, err := os.OpenFile(r.name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	r.f, r.size = f, st.Size()
	return nil
}

// Write appends b whole, to the file or to its successor.
func (r *rotated) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size > 0 && r.size+int64(len(b)) > r.max {
		if err := errors.Join(r.f.Close(), os.Rename(r.name, r.name+".1"), r.open()); err != nil {
			return 0, fmt.Errorf("rotate %s: %w", r.name, err)
		}
	}
	n, err := r.f.Write(b)
	r.size += int64(n)
	return n, err
}
