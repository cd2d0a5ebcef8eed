// Command vic-machine makes, lists and removes Virtual Container Hosts on an
// ESXi host or vCenter. It runs on a workstation.
//
// Start reading at command.Root.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/vic-engine/vic/cmd/vic-machine/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal has the work undone, a second one ends it at once.
	context.AfterFunc(ctx, stop)
	code := command.Execute(ctx, os.Args[1:], command.Terminal{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.Getenv})
	stop()
	os.Exit(code)
}
