package vnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// lease of an address to a MAC address. It never runs out: a VM that is off for a
// year has its address again.
type lease struct {
	Addr netip.Addr `json:"address"`
	Used time.Time  `json:"used"`
}

// leaseBook keeps who has which address.
type leaseBook struct {
	file string // "" keeps nothing
	plan Plan
	now  func() time.Time

	mu     sync.Mutex // guards what follows; held while the file is written
	byMAC  map[string]lease
	taken  map[netip.Addr]string // addresses that guests use by their own choice, and whose
	online map[string]int        // NICs that are connected
}

func loadLeases(file string, plan Plan) (*leaseBook, error) {
	b := &leaseBook{file: file, plan: plan, now: time.Now, byMAC: map[string]lease{}, taken: map[netip.Addr]string{}, online: map[string]int{}}
	if file == "" {
		return b, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("leases: %w", err)
	}
	if err := json.Unmarshal(text, &b.byMAC); err != nil {
		return nil, fmt.Errorf("leases: %s: %w; remove the file to begin anew", file, err)
	}
	for m, l := range b.byMAC {
		if !plan.forGuests(l.Addr) {
			return nil, fmt.Errorf("leases: %s: %s has %s, which is not of %s: %w", file, m, l.Addr, plan.Subnet(), errdefs.ErrConflict)
		}
	}
	return b, nil
}

// lookup gives mac's address, if it ever had one.
func (b *leaseBook) lookup(mac string) (netip.Addr, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.byMAC[mac]
	return l.Addr, ok
}

// connected notes that a NIC comes or goes.
func (b *leaseBook) connected(mac string, on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if on {
		b.online[mac]++
		return
	}
	if b.online[mac]--; b.online[mac] <= 0 {
		delete(b.online, mac)
		for a, m := range b.taken {
			if m == mac {
				delete(b.taken, a)
			}
		}
	}
}

// inUse notes that mac was seen with an address, whoever gave it.
func (b *leaseBook) inUse(a netip.Addr, mac string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken[a] = mac
}

// decline takes an address out of use because the guest says another has it.
func (b *leaseBook) decline(mac string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l, ok := b.byMAC[mac]; ok {
		delete(b.byMAC, mac)
		b.taken[l.Addr] = ""
	}
}

// errNoAddress: every address is held by a NIC that is connected.
var errNoAddress = errors.New("no address is free")

// assign gives mac its address, a free one the first time. With all of them given
// away, the one whose NIC was away the longest changes hands.
func (b *leaseBook) assign(mac string) (netip.Addr, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, ok := b.byMAC[mac]
	if !ok {
		a, err := b.free(mac)
		if err != nil {
			return a, err
		}
		l.Addr = a
	}
	l.Used = b.now().UTC().Truncate(time.Second)
	b.byMAC[mac] = l
	return l.Addr, b.save()
}

func (b *leaseBook) free(mac string) (netip.Addr, error) {
	holder := map[netip.Addr]string{}
	oldest := ""
	for m, l := range b.byMAC {
		holder[l.Addr] = m
		if b.online[m] > 0 {
			continue
		}
		if oldest == "" || l.Used.Before(b.byMAC[oldest].Used) {
			oldest = m
		}
	}
	for a := b.plan.firstLease(); a.Compare(b.plan.lastLease()) <= 0; a = a.Next() {
		if who, used := b.taken[a]; used && who != mac {
			continue
		}
		if _, held := holder[a]; !held {
			return a, nil
		}
	}
	if oldest == "" {
		return netip.Addr{}, errNoAddress
	}
	a := b.byMAC[oldest].Addr
	delete(b.byMAC, oldest)
	return a, nil
}

// save is called with mu held.
func (b *leaseBook) save() error {
	if b.file == "" {
		return nil
	}
	text, err := json.MarshalIndent(b.byMAC, "", "  ")
	if err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(b.file), 0o700); err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	if err := os.WriteFile(b.file+"~", append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	if err := os.Rename(b.file+"~", b.file); err != nil {
		return fmt.Errorf("leases: %w", err)
	}
	return nil
}
