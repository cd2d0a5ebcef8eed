//go:build !linux

package network

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// Setup works inside the appliance, which is Linux.
func Setup(NAT) error {
	return fmt.Errorf("bridge network of the appliance: %w", errdefs.ErrNotImplemented)
}
