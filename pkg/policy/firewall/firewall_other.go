//go:build !linux

package firewall

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// A Firewall is the table in the kernel of a guest or an appliance, which are Linux.
type Firewall struct{}

// Set is for Linux.
func (*Firewall) Set(Ruleset) error { return fmt.Errorf("policy rules: %w", errdefs.ErrNotImplemented) }

// Clear is for Linux.
func (*Firewall) Clear() error { return nil }

// Remove is for Linux.
func (*Firewall) Remove() error { return nil }
