package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/install"
)

type lsOptions struct {
	target targetOptions
	output string
	read   install.ReadOptions
}

// AddFlags declares the flags of ls.
func (o *lsOptions) AddFlags(f *pflag.FlagSet) {
	o.target.addFlags(f, "accept a target whose certificate cannot be verified")
	f.StringVarP(&o.output, "output", "o", "", "json for machines")
	f.DurationVar(&o.read.Timeout, "timeout", install.DefaultTimeout, "time for everything after the password")
}

func newLs(t Terminal) *cobra.Command {
	var o lsOptions
	cmd := &cobra.Command{
		Use:   "ls --target TARGET [flags]",
		Short: "List the Virtual Container Hosts of a target",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runLs(cmd.Context(), t, cmd.OutOrStdout(), o)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func runLs(ctx context.Context, t Terminal, out io.Writer, o lsOptions) error {
	if err := checkOutput(o.output); err != nil {
		return err
	}
	log := newLog(t.Err, 0)
	target, err := o.target.resolve(t, log)
	if err != nil {
		return err
	}
	o.read.Target, o.read.Force, o.read.Timeout = target, o.target.force, orDefault(o.read.Timeout)
	list, err := install.Ls(ctx, o.read, log)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(out, list)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tPATH\tNAME\tVERSION\tSTATUS")
	for _, v := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.VM, v.Path, v.Name, v.Version, v.Status)
	}
	return w.Flush()
}

func checkOutput(s string) error {
	if s != "" && s != "json" {
		return fmt.Errorf("--output %q: only json is known: %w", s, errdefs.ErrInvalidArgument)
	}
	return nil
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
