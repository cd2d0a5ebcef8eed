package vsphere

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vmware/govmomi/simulator"
)

// Calls that go side by side find their connections again: each new one is a
// handshake.
func TestConnectionsKept(t *testing.T) {
	s := newSim(t, simulator.ESX())
	var made atomic.Int32
	se := s.dial(t)
	tr := se.vim.Client.DefaultTransport()
	dial := tr.DialTLSContext
	tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		made.Add(1)
		return dial(ctx, network, addr)
	}
	round := func() {
		t.Helper()
		var begun, ended sync.WaitGroup
		begun.Add(idleConns)
		for range idleConns {
			ended.Go(func() {
				begun.Done()
				begun.Wait()
				if err := se.touch(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		ended.Wait()
	}
	const rounds = 10
	for range rounds {
		round()
	}
	// A connection may come back a moment after its call; two are always kept.
	if n := made.Load(); n > 2*idleConns {
		t.Errorf("%d connections were made for %d times %d calls", n, rounds, idleConns)
	}
}
