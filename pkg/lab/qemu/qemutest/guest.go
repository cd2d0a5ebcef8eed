package qemutest

import (
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// Guest keeps what the guest reads and says over guest RPC.
type Guest struct {
	mu    sync.Mutex // guards what follows
	keys  map[string]string
	nics  []machine.GuestNIC
	name  string
	tools bool
	more  chan struct{} // closed and replaced at each change
}

var _ machine.Guest = (*Guest)(nil)

// NewGuest has keys.
func NewGuest(keys map[string]string) *Guest {
	g := &Guest{keys: map[string]string{}, more: make(chan struct{})}
	maps.Copy(g.keys, keys)
	return g
}

func (g *Guest) change(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
	close(g.more)
	g.more = make(chan struct{})
}

// InfoGet implements machine.Guest.
func (g *Guest) InfoGet(key string) (string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.keys[key]
	return v, ok
}

// InfoSet implements machine.Guest.
func (g *Guest) InfoSet(key, value string) error {
	if strings.HasPrefix(key, "guestinfo./") {
		return errors.New("Permission denied")
	}
	g.change(func() { g.keys[key] = value })
	return nil
}

// Tools implements machine.Guest.
func (g *Guest) Tools(running bool) { g.change(func() { g.tools = running }) }

// Addresses implements machine.Guest.
func (g *Guest) Addresses(nics []machine.GuestNIC) { g.change(func() { g.nics = nics }) }

// Hostname implements machine.Guest.
func (g *Guest) Hostname(name string) { g.change(func() { g.name = name }) }

// Keys are all keys now.
func (g *Guest) Keys() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.keys)
}

// Seen is what the guest last told of itself.
func (g *Guest) Seen() (tools bool, nics []machine.GuestNIC, hostname string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tools, g.nics, g.name
}

// Wait waits until ok, which may use the other methods, holds.
func (g *Guest) Wait(t testing.TB, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		g.mu.Lock()
		more := g.more
		g.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			t.Fatalf("no %s within %s", what, limit)
		}
	}
}
