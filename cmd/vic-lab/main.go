// Command vic-lab runs the embedded vSphere: an ESXi or a vCenter on one
// computer, whose VMs are real.
//
// Start reading at command.Root.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/vic-engine/vic/cmd/vic-lab/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Execute(ctx, os.Args[1:], command.Terminal{Out: os.Stdout, Err: os.Stderr, Env: os.Getenv})
	stop()
	os.Exit(code)
}
