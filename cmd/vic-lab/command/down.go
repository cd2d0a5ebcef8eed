package command

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"

	"github.com/vic-engine/vic/pkg/lab"
)

type downOptions struct {
	stateOption
	timeout time.Duration
}

func downCommand(t Terminal) *cobra.Command {
	o := &downOptions{}
	c := &cobra.Command{
		Use:   "down",
		Short: "Power the lab's VMs off and end it; all state is kept",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runDown(c.Context(), t, o) },
	}
	o.AddFlags(c.Flags())
	c.Flags().DurationVar(&o.timeout, "timeout", time.Minute, "how long it may take")
	return c
}

func runDown(ctx context.Context, t Terminal, o *downOptions) error {
	state, err := o.path(t)
	if err != nil {
		return err
	}
	if !lab.Running(state) {
		fmt.Fprintf(t.Out, "no lab runs in %s\n", state)
		return nil
	}
	pid := readPID(state)
	if pid <= 0 {
		return fmt.Errorf("the lab in %s has not come up yet: %w", state, errdefs.ErrUnavailable)
	}
	// The lab's lock is held, so the pid is that of the process that holds it.
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("end process %d of the lab: %w", pid, err)
	}
	limit := time.NewTimer(o.timeout)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return fmt.Errorf("the lab (process %d) still runs after %s: %w", pid, o.timeout, errdefs.ErrUnavailable)
		case <-tick.C:
			if !lab.Running(state) {
				fmt.Fprintf(t.Out, "lab is down; its state is in %s\n", state)
				return nil
			}
		}
	}
}
