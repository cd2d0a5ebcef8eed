package tether

import (
	"fmt"

	"github.com/vic-engine/vic/pkg/policy/firewall"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// police makes the guest enforce the rules of policies that concern it. Called with
// updating held. There is no going on without them.
func (c *Container) police(u spec.NetworkUpdate) error {
	if err := firewall.Check(u.Policy); err != nil {
		return fmt.Errorf("network policy: %w", err)
	}
	return c.enforce(firewall.New(firewall.Guest, u.Policy))
}

func (c *Container) enforce(r firewall.Ruleset) error {
	if err := c.load(system.Policing); err != nil {
		return fmt.Errorf("network policy: %w", err)
	}
	if err := c.firewall.Set(r); err != nil {
		return fmt.Errorf("network policy: %w", err)
	}
	return nil
}

// closeUntold keeps a process that policies concern from all networks, when nobody
// has sent the rules before it starts. The engine sends them when it is back.
func (c *Container) closeUntold() error {
	c.updating.Lock()
	defer c.updating.Unlock()
	if !c.spec.NetworkPolicy {
		return nil
	}
	select {
	case <-c.updated:
		return nil
	default:
	}
	c.log.Warn("nobody has sent the rules of this container's policies: nothing passes until somebody does")
	return c.enforce(firewall.Ruleset{Hooks: firewall.Guest, Closed: true})
}
