package command

import (
	"context"
	"fmt"
	"io"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/install"
)

type growOptions struct {
	target targetOptions
	grow   install.GrowOptions
}

// AddFlags declares the flags of volume grow.
func (o *growOptions) AddFlags(f *pflag.FlagSet) {
	o.target.addFlags(f, "accept a target whose certificate cannot be verified")
	f.StringVarP(&o.grow.Name, "name", "n", "virtual-container-host", "name of the VCH")
	f.StringVar(&o.grow.Volume, "volume", "", "name of the volume")
	f.StringVar(&o.grow.Size, "size", "", "size that it is to have: a number of MB, or one with a unit like 20GB")
	f.StringVar(&o.grow.CertDir, "tls-cert-path", "", "folder with cert.pem and key.pem, for a VCH whose clients must show a certificate (default ./NAME)")
	f.DurationVar(&o.grow.Read.Timeout, "timeout", install.DefaultTimeout, "time for everything after the password")
}

func newVolume(t Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "Change volumes of a Virtual Container Host",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newVolumeGrow(t))
	return cmd
}

func newVolumeGrow(t Terminal) *cobra.Command {
	var o growOptions
	cmd := &cobra.Command{
		Use:     "grow --target TARGET --name NAME --volume VOLUME --size SIZE [flags]",
		Short:   "Make a volume larger, also while a container has it",
		Example: "  vic-machine volume grow --target esxi01.example.com --user root --name VCH001 --volume db --size 20GB",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runVolumeGrow(cmd.Context(), t, cmd.OutOrStdout(), o)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func runVolumeGrow(ctx context.Context, t Terminal, out io.Writer, o growOptions) error {
	log := newLog(t.Err, 0)
	target, err := o.target.resolve(t, log)
	if err != nil {
		return err
	}
	g := o.grow
	g.Read.Target, g.Read.Force, g.Read.Timeout = target, o.target.force, orDefault(g.Read.Timeout)
	size, err := install.GrowVolume(ctx, g, log)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "volume %s has %s\n", g.Volume, units.BytesSize(float64(size)))
	return err
}
