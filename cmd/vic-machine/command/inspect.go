package command

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/install"
)

type inspectOptions struct {
	lsOptions
	name string
}

// AddFlags declares the flags of inspect.
func (o *inspectOptions) AddFlags(f *pflag.FlagSet) {
	o.lsOptions.AddFlags(f)
	f.StringVarP(&o.name, "name", "n", "virtual-container-host", "name of the VCH")
}

func newInspect(t Terminal) *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect --target TARGET --name NAME [flags]",
		Short: "Show a Virtual Container Host and how to reach it",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runInspect(cmd.Context(), t, cmd.OutOrStdout(), o)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func runInspect(ctx context.Context, t Terminal, out io.Writer, o inspectOptions) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	log := newLog(t.Err, 0)
	target, err := o.target.resolve(t, log)
	if err != nil {
		return err
	}
	o.read.Target, o.read.Force, o.read.Timeout = target, o.target.force, orDefault(o.read.Timeout)
	v, err := install.Inspect(ctx, o.read, o.name, log)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(out, v)
	}
	for _, line := range v.Lines() {
		if _, err := fmt.Fprintln(out, line); err != nil {
			return err
		}
	}
	return nil
}
