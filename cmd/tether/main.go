//go:build linux

// Command tether is /init of every VM of ours: PID 1, in containerVMs and in the
// appliance. Start reading at package tether.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/vic-engine/vic/tether"
	"github.com/vic-engine/vic/tether/archive"
)

// When main returns, the kernel panics and restarts the VM: the last thing left
// to do when it could not be powered off.
func main() {
	if os.Getpid() != 1 && len(os.Args) > 1 && os.Args[1] == archive.Verb {
		os.Exit(archive.Main(os.Args[2:]))
	}
	if err := tether.Boot(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "tether:", err)
	}
}
