package lab

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
)

// portsKey is where a VCH's appliance writes which ports of it containers have,
// as a JSON list such as ["80/tcp","53/udp"].
const portsKey = "guestinfo..ports"

// publish passes on what a running VM publishes now.
func (l *Lab) publish(o *simulator.VirtualMachine) {
	if l.cfg.Published == nil {
		return
	}
	l.ports.Lock() // the last call tells of the last change
	defer l.ports.Unlock()
	macs := l.cardsOf(l.running(o.Self))
	if len(macs) == 0 {
		return
	}
	text := ""
	locked(l.context(nil), o, func() {
		for _, e := range o.Config.ExtraConfig {
			if v := e.GetOptionValue(); v.Key == portsKey {
				text = fmt.Sprint(v.Value)
			}
		}
	})
	l.cfg.Published(macs, text)
}

// unpublish is for cards that are gone, such as those of a VM that is off: what its
// guest wrote is history.
func (l *Lab) unpublish(macs []string) {
	if l.cfg.Published == nil || len(macs) == 0 {
		return
	}
	l.ports.Lock()
	defer l.ports.Unlock()
	l.cfg.Published(macs, "")
}

func (l *Lab) cardsOf(r *run) []string {
	if r == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var macs []string
	for _, n := range r.m.NICs {
		macs = append(macs, n.MAC)
	}
	return macs
}
