package system

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inFilter is what a card lets in: a BPF program that its queueing discipline clsact
// runs (tc-bpf(8)), with a hash table for each set. nftables can do the same, but in
// an emulated processor that took a fifth of all that a receiver does.
type inFilter struct{ have *attached }

// attached is a ruleset in the kernel.
type attached struct {
	rules   Ruleset // as they are
	made    Ruleset // as they were at first: the tables have its size
	maps    map[string]*ebpf.Map
	program *ebpf.Program
}

// set makes r, which has rules of one chain only, what is let in. When only the sets
// change, the program stays: what is new is let in before what is gone no longer is.
func (f *inFilter) set(r Ruleset) error {
	if f.have != nil && r.fits(f.have.made) {
		if err := errors.Join(f.have.change(r), f.have.attach()); err == nil {
			return nil
		}
		// Somebody with the rights to do so has changed it: all anew.
	}
	a, err := load(r)
	if err != nil {
		return err
	}
	if err := a.attach(); err != nil {
		a.close()
		return err
	}
	if f.have != nil {
		f.have.close()
	}
	f.have = a
	return nil
}

func (f *inFilter) remove() error {
	if f.have == nil {
		return nil
	}
	if err := f.have.detach(); err != nil {
		return err
	}
	f.have.close()
	f.have = nil
	return nil
}

// load brings a ruleset into the kernel, where nothing uses it yet.
func load(r Ruleset) (_ *attached, err error) {
	a := &attached{rules: r, made: r, maps: map[string]*ebpf.Map{}}
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	fds := map[string]int{}
	for _, s := range r.Sets {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: s.size(), ValueSize: 1, MaxEntries: s.room()})
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Name, err)
		}
		a.maps[s.Name], fds[s.Name] = m, m.FD()
		if err := putAll(m, s.Elements); err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	a.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: classifierName, Type: ebpf.SchedCLS, Instructions: r.program(fds), License: "Apache-2.0"})
	return a, err
}

func putAll(m *ebpf.Map, elements [][]byte) error {
	for _, e := range elements {
		if err := m.Put(e, []byte{1}); err != nil {
			return err
		}
	}
	return nil
}

// change gives the sets the elements of r, which fits.
func (a *attached) change(r Ruleset) error {
	old := a.rules
	for i, s := range r.Sets {
		if err := putAll(a.maps[s.Name], without(s.Elements, old.Sets[i].Elements)); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	for i, s := range r.Sets {
		for _, e := range without(old.Sets[i].Elements, s.Elements) {
			if err := a.maps[s.Name].Delete(e); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("set %s: %w", s.Name, err)
			}
		}
	}
	a.rules = r
	return nil
}

// without gives what a has and b has not; both are sorted.
func without(a, b [][]byte) [][]byte {
	var out [][]byte
	for _, e := range a {
		if _, found := slices.BinarySearchFunc(b, e, bytes.Compare); !found {
			out = append(out, e)
		}
	}
	return out
}

func (a *attached) close() {
	for _, m := range a.maps {
		_ = m.Close()
	}
	if a.program != nil {
		_ = a.program.Close()
	}
}

// attach makes the program the card's, in one step in the place of another.
func (a *attached) attach() error {
	link, err := netlink.LinkByName(a.rules.Link)
	if err != nil {
		return err
	}
	err = netlink.QdiscAdd(&netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("queueing discipline clsact: %w", err)
	}
	f := classifier(link)
	f.Fd = a.program.FD()
	if err := netlink.FilterReplace(f); err != nil {
		return fmt.Errorf("classifier: %w", err)
	}
	return nil
}

// detach takes the program from the card, if it is there.
func (a *attached) detach() error {
	link, err := netlink.LinkByName(a.rules.Link)
	if err != nil {
		return err
	}
	f := classifier(link)
	there, err := netlink.FilterList(link, f.Parent)
	if err != nil {
		return fmt.Errorf("classifier: %w", err)
	}
	for _, t := range there {
		if b, ok := t.(*netlink.BpfFilter); ok && b.Handle == f.Handle && b.Priority == f.Priority {
			if err := netlink.FilterDel(f); err != nil {
				return fmt.Errorf("classifier: %w", err)
			}
		}
	}
	return nil
}

const classifierName = "vic_in"

// classifier is the program's place: before all others of the card.
func classifier(link netlink.Link) *netlink.BpfFilter {
	return &netlink.BpfFilter{Name: classifierName, DirectAction: true, FilterAttrs: netlink.FilterAttrs{
		LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL}}
}
