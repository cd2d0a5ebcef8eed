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
type inFilter struct {
	have *loaded // nil: there never was one
	on   bool    // it filters
}

// loaded is a ruleset in the kernel. That takes long, and so it stays there when the
// card filters no more.
type loaded struct {
	rules   Ruleset // as they are
	made    Ruleset // as they were at first: the tables have its size
	maps    map[string]*ebpf.Map
	program *ebpf.Program
	id      int // of the program
}

// set makes r, which has rules of one chain only, what is let in. When only the sets
// change, the program stays: what is new is let in before what is gone no longer is.
func (f *inFilter) set(r Ruleset) error {
	if f.have != nil && r.fits(f.have.made) {
		if err := errors.Join(f.have.change(r), f.have.attach()); err == nil {
			f.on = true
			return nil
		}
		// Somebody with the rights to do so has changed it: all anew.
	}
	l, err := load(r)
	if err != nil {
		return err
	}
	if err := l.attach(); err != nil {
		l.close()
		return err
	}
	if f.have != nil {
		f.have.close()
	}
	f.have, f.on = l, true
	return nil
}

func (f *inFilter) remove() error {
	if !f.on {
		return nil
	}
	if err := f.have.detach(); err != nil {
		return err
	}
	f.on = false
	return nil
}

// load brings a ruleset into the kernel, where nothing uses it yet. Nothing has a
// name: whether the kernel takes names is tried out first, and takes longer.
func load(r Ruleset) (_ *loaded, err error) {
	l := &loaded{rules: r, made: r, maps: map[string]*ebpf.Map{}}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	fds := map[string]int{}
	for _, s := range r.Sets {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: s.size(), ValueSize: 1, MaxEntries: s.room()})
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Name, err)
		}
		l.maps[s.Name], fds[s.Name] = m, m.FD()
		if err := putAll(m, s.Elements); err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	l.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: r.program(fds), License: "Apache-2.0"})
	if err != nil {
		return nil, err
	}
	info, err := l.program.Info()
	if err != nil {
		return nil, err
	}
	id, _ := info.ID()
	l.id = int(id)
	return l, nil
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
func (l *loaded) change(r Ruleset) error {
	old := l.rules
	for i, s := range r.Sets {
		if err := putAll(l.maps[s.Name], without(s.Elements, old.Sets[i].Elements)); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	for i, s := range r.Sets {
		for _, e := range without(old.Sets[i].Elements, s.Elements) {
			if err := l.maps[s.Name].Delete(e); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("set %s: %w", s.Name, err)
			}
		}
	}
	l.rules = r
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

func (l *loaded) close() {
	for _, m := range l.maps {
		_ = m.Close()
	}
	if l.program != nil {
		_ = l.program.Close()
	}
}

// attach makes the program the card's, in one step in the place of another, unless it
// is there.
func (l *loaded) attach() error {
	link, err := netlink.LinkByName(l.rules.Link)
	if err != nil {
		return err
	}
	if there, err := l.attached(link); there || err != nil {
		return err
	}
	err = netlink.QdiscAdd(&netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("queueing discipline clsact: %w", err)
	}
	f := classifier(link)
	f.Fd = l.program.FD()
	if err := netlink.FilterReplace(f); err != nil {
		return fmt.Errorf("classifier: %w", err)
	}
	return nil
}

// attached tells whether the program is the card's.
func (l *loaded) attached(link netlink.Link) (bool, error) {
	f := classifier(link)
	there, err := netlink.FilterList(link, f.Parent)
	if err != nil {
		return false, fmt.Errorf("classifier: %w", err)
	}
	return slices.ContainsFunc(there, func(t netlink.Filter) bool {
		b, bpf := t.(*netlink.BpfFilter)
		return bpf && b.Handle == f.Handle && b.Priority == f.Priority && b.DirectAction && b.Id == l.id
	}), nil
}

// detach takes the program from the card, if it is there.
func (l *loaded) detach() error {
	link, err := netlink.LinkByName(l.rules.Link)
	if err != nil {
		return err
	}
	if there, err := l.attached(link); !there || err != nil {
		return err
	}
	if err := netlink.FilterDel(classifier(link)); err != nil {
		return fmt.Errorf("classifier: %w", err)
	}
	return nil
}

const classifierName = "vic_in"

// classifier is the program's place: before all others of the card.
func classifier(link netlink.Link) *netlink.BpfFilter {
	return &netlink.BpfFilter{Name: classifierName, DirectAction: true, FilterAttrs: netlink.FilterAttrs{
		LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL}}
}
