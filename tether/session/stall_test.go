//go:build linux

package session

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// settled waits until a process writes no more, though it would like to.
func settled(t *testing.T, pid int) {
	t.Helper()
	written := func() string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	last, since := written(), time.Now()
	for end := time.Now().Add(20 * time.Second); time.Since(since) < 300*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if now := written(); now != last {
			last, since = now, time.Now()
		}
		if time.Now().After(end) {
			t.Fatal("it writes on and on")
		}
	}
}

// A client that takes nothing of an exec's output, such as one that was suspended,
// does not hold up the end of the container.
func TestStuckExecDoesNotHoldTheEnd(t *testing.T) {
	p := sh("read x; exit 9")
	p.OpenStdin = true
	v := newVM(t, p, func(c *Config) { c.ClientStall, c.EndWait = time.Hour, 50*time.Millisecond })
	c := v.connect()
	done := v.run()
	if _, err := c.Release(v.ctx); err != nil {
		t.Fatal(err)
	}
	free := make(chan struct{})
	started, over := make(chan int, 1), make(chan struct{})
	go func() {
		defer close(over)
		_, _ = c.Exec(v.ctx, "e", sh("exec cat /dev/zero"), spec.Streams{Stdout: stuck{free}}, func(pid int) { started <- pid })
	}()
	settled(t, wait(t, started))
	if err := c.Signal(v.ctx, "e", "KILL"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseStdin(v.ctx, ""); err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, done); exit.Code != 9 {
		t.Errorf("%+v", exit)
	}
	close(free)
	wait(t, over)
}

// What a client has not taken of an output that has ended is waited for as long as
// it takes something.
func TestLastOfAnOutput(t *testing.T) {
	f := newFan(func() time.Duration { return 20 * time.Millisecond })
	c := f.join(true, false)
	f.give(spec.Stdout, []byte("the last"))
	f.finish()
	free, pumped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(pumped)
		c.pump(nil, stuck{free}, nil)
	}()
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.awaitLast(c, pumped)
	}()
	wait(t, over)
	wait(t, c.gone)
	close(free)
	wait(t, pumped)
}
