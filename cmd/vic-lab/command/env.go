package command

import (
	"fmt"

	"github.com/spf13/cobra"
)

func envCommand(t Terminal) *cobra.Command {
	o := &stateOption{}
	c := &cobra.Command{
		Use:   "env",
		Short: `Print the name of the file to source: . "$(vic-lab env)"`,
		Long:  "Print the name of the file with GOVC_*, VIC_MACHINE_* and VIC_LAB_* variables. It holds the lab's password.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			state, err := o.path(t)
			if err != nil {
				return err
			}
			i, err := readInfo(state)
			if err != nil {
				return err
			}
			fmt.Fprintln(t.Out, i.EnvFile)
			return nil
		},
	}
	o.AddFlags(c.Flags())
	return c
}
