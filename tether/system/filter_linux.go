package system

import (
	"errors"
	"fmt"
	"sync"
)

// A LinkFilter is the filter of one interface in the kernel. Its methods must not be
// called at the same time. The zero value filters nothing.
type LinkFilter struct {
	in  inFilter
	out outFilter
	xdp *XDPHold
}

// Set makes r the filter of its interface. With an error the one from before stays,
// each direction for itself. When only the sets change, no frame meets another
// filter than the old one or the new one.
func (l *LinkFilter) Set(r Ruleset) error {
	var out error
	var wg sync.WaitGroup
	wg.Go(func() { out = l.out.set(r.of(chainOut)) }) // at once: both wait for the kernel
	in := l.in.set(r.of(chainIn))
	wg.Wait()
	if err := errors.Join(out, in); err != nil {
		return fmt.Errorf("filter on %s: %w", r.Link, err)
	}
	if l.xdp != nil {
		return nil
	}
	var err error
	l.xdp, err = HoldXDP(r.Link)
	return err
}

// Remove lets everything in and out again.
func (l *LinkFilter) Remove() error {
	if l.xdp != nil {
		l.xdp.Close()
		l.xdp = nil
	}
	if err := errors.Join(l.in.remove(), l.out.remove()); err != nil {
		return fmt.Errorf("remove a filter: %w", err)
	}
	return nil
}
