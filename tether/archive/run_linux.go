package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/proc"
)

// self is tether's own program in every VM.
const self = "/init"

// maxFailure bounds what the process may say of an error, in bytes.
const maxFailure = 64 << 10

// Run does a job in a process of its own and returns when that has ended. Its
// stdin is read to its end, or as long as the process wants it; a Read under way
// then is the caller's to end. When ctx is done the process is killed. Errors
// are classes of errdefs.
func Run(ctx context.Context, reaper *proc.Reaper, j Job, stdin io.Reader, stdout io.Writer) error {
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	p, err := proc.Start(reaper, proc.Options{
		OwnMounts: true,
		Process:   spec.Process{Path: self, Args: []string{Verb, string(text)}, Privileged: true, OpenStdin: true},
	})
	if err != nil {
		return err
	}
	defer p.Release()
	stop := context.AfterFunc(ctx, func() { _ = p.Signal("SIGKILL") }) // it fails only after the end
	defer stop()
	go func() {
		_, _ = io.Copy(p.Stdin(), stdin) // what is missing, the process notices
		_ = p.Stdin().Close()
	}()
	var said []byte
	var wg sync.WaitGroup
	wg.Go(func() {
		said, _ = io.ReadAll(io.LimitReader(p.Stderr(), maxFailure))
		_, _ = io.Copy(io.Discard, p.Stderr()) // it must not wait for us
	})
	_, werr := io.Copy(stdout, p.Stdout())
	if werr != nil {
		_ = p.Signal("SIGKILL") // nobody wants the rest
	}
	wg.Wait()
	<-p.Done()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(werr, ended(p.Status(), said))
}

// ended gives the error of a process that has ended.
func ended(st spec.ExitStatus, said []byte) error {
	if st.Code == 0 {
		return nil
	}
	var f failure
	if json.Unmarshal(said, &f) == nil && f.Msg != "" {
		return f.err()
	}
	if st.OOM {
		return errors.New("the guest has too little memory")
	}
	return fmt.Errorf("exit status %d: %s", st.Code, said)
}
