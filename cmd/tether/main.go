//go:build linux

// Command tether is /init of every VM of ours: PID 1, in containerVMs and in the
// appliance. Start reading at package tether.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vic-engine/vic/tether"
)

// When main returns, the kernel panics and restarts the VM: the last thing left
// to do when it could not be powered off.
func main() {
	if err := tether.Boot(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "tether:", err)
	}
}
