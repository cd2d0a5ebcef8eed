package vnet

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// claimPort is where a lab listens, at the first address of its Plan's Alias, for
// as long as it has the range. It is above the ports that Linux gives out by
// itself (ip(7), ip_local_port_range: 32768 to 60999), and no guest's.
const claimPort = 61118

// Claim is a lab's hold on the alias range of a Plan. The operating system ends
// it with the process at the latest.
type Claim struct {
	l  net.Listener
	wg sync.WaitGroup
}

// Claim takes p's alias range for this process. owner names it to who asks later.
// ErrConflict: another lab has it.
func (p Plan) Claim(owner string) (*Claim, error) {
	at := netip.AddrPortFrom(p.local(1), claimPort)
	l, err := net.Listen("tcp", at.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s, where this computer would reach guests of %s, belongs to %s: %w", p.Alias(), p.Subnet(), holder(at), errdefs.ErrConflict)
	}
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", p.Alias(), err)
	}
	c := &Claim{l: l}
	c.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			_ = conn.SetDeadline(time.Now().Add(holderLimit))
			_, _ = io.WriteString(conn, owner+"\n") // who asks has it or hasn't
			_ = conn.Close()
		}
	})
	return c, nil
}

// ClaimFree takes the first range that nobody has.
func ClaimFree(owner string) (Plan, *Claim, error) {
	var last error
	for n := range Plans {
		p := Plan{byte(n)}
		c, err := p.Claim(owner)
		if !errdefs.IsConflict(err) {
			return p, c, err
		}
		last = err
	}
	return Plan{}, nil, fmt.Errorf("all %d ranges for labs are taken: %w", Plans, last)
}

// Close gives the range back.
func (c *Claim) Close() error {
	err := c.l.Close()
	c.wg.Wait()
	return err
}

// holderLimit is how long the other lab has to say its name. A stopped one says
// nothing.
const holderLimit = 5 * time.Second

func holder(at netip.AddrPort) string {
	const unknown = "another program"
	c, err := net.DialTimeout("tcp", at.String(), holderLimit)
	if err != nil {
		return unknown
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(holderLimit))
	b, err := io.ReadAll(io.LimitReader(c, 4096))
	name := strings.TrimSpace(string(b))
	if err != nil || name == "" {
		return unknown
	}
	return name
}
