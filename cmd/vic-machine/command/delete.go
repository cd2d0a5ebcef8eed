package command

import (
	"context"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/install"
)

type deleteOptions struct {
	target targetOptions
	delete install.DeleteOptions
	debug  int
}

// AddFlags declares the flags of delete.
func (o *deleteOptions) AddFlags(f *pflag.FlagSet) {
	o.target.addFlags(f, "stop running containers, remove what a create left that was cut off, and accept a target that cannot be verified")
	f.StringVarP(&o.delete.Name, "name", "n", "virtual-container-host", "name of the VCH")
	f.DurationVar(&o.delete.Timeout, "timeout", install.DefaultTimeout, "time for everything after the password")
	f.IntVar(&o.debug, "debug", 0, "1 logs more")
	f.BoolVar(&o.delete.DryRun, "dry-run", false, "print what would be done, and change nothing")
}

func newDelete(t Terminal) *cobra.Command {
	var o deleteOptions
	cmd := &cobra.Command{
		Use:     "delete --target TARGET --name NAME [flags]",
		Short:   "Remove a Virtual Container Host with its containers and images",
		Example: "  vic-machine delete --target esxi01.example.com --user root --name VCH001",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDelete(cmd.Context(), t, cmd.OutOrStdout(), o)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func runDelete(ctx context.Context, t Terminal, out io.Writer, o deleteOptions) error {
	log := newLog(out, o.debug)
	target, err := o.target.resolve(t, log)
	if err != nil {
		return err
	}
	d := o.delete
	d.Target, d.Force, d.Timeout = target, o.target.force, orDefault(d.Timeout)
	env, err := newEnv(t, out, log)
	if err != nil {
		return err
	}
	return install.Delete(ctx, d, env)
}
