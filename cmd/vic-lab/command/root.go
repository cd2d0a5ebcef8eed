package command

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Terminal is what a verb may touch of its process.
type Terminal struct {
	Out, Err io.Writer
	Env      func(string) string
}

// exitCode is an error of another program, which has spoken for itself.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Root makes the command tree.
func Root(t Terminal) *cobra.Command {
	root := &cobra.Command{
		Use:           "vic-lab",
		Short:         "A vSphere on this computer, whose VMs really run",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	root.AddCommand(upCommand(t), downCommand(t), statusCommand(t), envCommand(t), govcCommand(t), imagesCommand(t), datastoreCommand(t))
	return root
}

// Execute runs the verb that args name, and gives the process's exit code.
func Execute(ctx context.Context, args []string, t Terminal) int {
	root := Root(t)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintf(t.Err, "vic-lab: %v\n", err)
	return 1
}
