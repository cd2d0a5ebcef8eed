package proc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/vic-engine/vic/pkg/spec"
)

// Output runs a helper program of our own root, with all privileges, and gives
// what it wrote. An exit status other than 0 is an error with the output's end.
// When ctx is done the program is killed.
func Output(ctx context.Context, reaper *Reaper, path string, args ...string) ([]byte, error) {
	p, err := Start(reaper, Options{Process: spec.Process{Path: path, Args: args, Env: os.Environ(), Privileged: true}})
	if err != nil {
		return nil, err
	}
	defer p.Release()
	stop := context.AfterFunc(ctx, func() { _ = p.Signal("SIGKILL") })
	defer stop()
	var mu sync.Mutex // guards out
	var out bytes.Buffer
	var wg sync.WaitGroup
	for _, r := range []io.Reader{p.Stdout(), p.Stderr()} {
		wg.Go(func() { _, _ = io.Copy(&locked{&mu, &out}, r) })
	}
	wg.Wait()
	st := p.Status()
	if ctx.Err() != nil {
		return out.Bytes(), fmt.Errorf("%s: %w", path, ctx.Err())
	}
	if st.Code != 0 {
		b := out.Bytes()
		return b, fmt.Errorf("%s: exit status %d: %s", path, st.Code, bytes.TrimSpace(b[max(0, len(b)-400):]))
	}
	return out.Bytes(), nil
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
