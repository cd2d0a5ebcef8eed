//go:build !linux

package network

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// Place works inside the appliance, which is Linux.
type Place struct{}

// Set fails.
func (*Place) Set(NAT) error {
	return fmt.Errorf("bridge network of the appliance: %w", errdefs.ErrNotImplemented)
}

// ListenARP works inside the appliance, which is Linux.
func ListenARP(context.Context, string, func(Claim)) error {
	return fmt.Errorf("listen to ARP: %w", errdefs.ErrNotImplemented)
}
