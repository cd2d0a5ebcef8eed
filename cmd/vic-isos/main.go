// Command vic-isos makes the bootable CD images of vic.
//
// Start reading at newBuild in build.go.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "vic-isos", Short: "Make the bootable CD images of vic", SilenceErrors: true}
	root.AddCommand(newBuild())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "vic-isos:", err)
		os.Exit(1)
	}
}
