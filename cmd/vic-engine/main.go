// Command vic-engine is the daemon of a Virtual Container Host: the Docker API,
// the port layer, the serial concentrator, the admin page and metrics in one
// process. tether starts it inside the appliance.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := newCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "vic-engine:", err)
		os.Exit(1)
	}
}
