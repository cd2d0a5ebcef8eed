package command

import (
	"context"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/install"
)

type traceOptions struct {
	target targetOptions
	trace  install.TraceOptions
	output string
}

// AddFlags declares the flags of traceflow.
func (o *traceOptions) AddFlags(f *pflag.FlagSet) {
	o.target.addFlags(f, "accept a target whose certificate cannot be verified")
	f.StringVarP(&o.trace.Name, "name", "n", "virtual-container-host", "name of the VCH")
	f.StringVar(&o.trace.From, "from", "", "container that begins the connection")
	f.StringVar(&o.trace.To, "to", "", "container or address that it is to")
	f.StringVar(&o.trace.Proto, "proto", "tcp", "protocol: tcp, udp or icmp")
	f.IntVar(&o.trace.Port, "port", 0, "port of the destination; none with icmp")
	f.StringVarP(&o.output, "output", "o", "", "json for machines")
	f.StringVar(&o.trace.CertDir, "tls-cert-path", "", "folder with cert.pem and key.pem, for a VCH whose clients must show a certificate (default ./NAME)")
	f.DurationVar(&o.trace.Read.Timeout, "timeout", install.DefaultTimeout, "time for everything after the password")
}

func newTraceflow(t Terminal) *cobra.Command {
	var o traceOptions
	cmd := &cobra.Command{
		Use:   "traceflow --target TARGET --name NAME --from CONTAINER --to CONTAINER|ADDRESS [flags]",
		Short: "Tell whether a connection between containers is let through, and which rule decides",
		Long: `Tell whether a connection between containers is let through now, and what decides:
the rules of policies in the guest that sends and in the one that hears, or the
isolation of networks. No packet is sent.`,
		Example: "  vic-machine traceflow --target esxi01.example.com --user root --name VCH001 --from web1 --to web2 --port 80",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runTraceflow(cmd.Context(), t, cmd.OutOrStdout(), o)
		},
	}
	o.AddFlags(cmd.Flags())
	return cmd
}

func runTraceflow(ctx context.Context, t Terminal, out io.Writer, o traceOptions) error {
	log := newLog(t.Err, 0)
	if err := checkOutput(o.output); err != nil {
		return err
	}
	target, err := o.target.resolve(t, log)
	if err != nil {
		return err
	}
	q := o.trace
	q.Read.Target, q.Read.Force, q.Read.Timeout = target, o.target.force, orDefault(q.Read.Timeout)
	trace, err := install.Traceflow(ctx, q, log)
	if err != nil {
		return err
	}
	if o.output == "json" {
		return printJSON(out, trace)
	}
	_, err = io.WriteString(out, install.TraceText(q, trace))
	return err
}
