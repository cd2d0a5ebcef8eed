package command

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/vic-engine/vic/pkg/lab"
)

func datastoreCommand(t Terminal) *cobra.Command {
	o := &stateOption{}
	c := &cobra.Command{
		Use:   "datastore NAME lost|back",
		Short: "Make a datastore unreachable, or reachable again, for tests of what then happens",
		Args:  cobra.ExactArgs(2),
		RunE:  func(_ *cobra.Command, args []string) error { return runDatastore(t, o, args[0], args[1]) },
	}
	o.AddFlags(c.Flags())
	return c
}

func runDatastore(t Terminal, o *stateOption, name, what string) error {
	if what != "lost" && what != "back" {
		return fmt.Errorf("%q: a datastore is lost or back: %w", what, errdefs.ErrInvalidArgument)
	}
	state, err := o.path(t)
	if err != nil {
		return err
	}
	return lab.LoseDatastore(state, name, what == "lost")
}
