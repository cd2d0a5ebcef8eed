package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vic-engine/vic/pkg/lab"
)

type upOptions struct {
	stateOption
	mode        string
	subnet      string
	listen      string
	registry    string
	capacity    string
	datastores  []string
	accel       string
	probe       string
	images      string
	noRegistry  bool
	noForwards  bool
	foreground  bool
	debug       bool
	capacityInB int64
}

func (o *upOptions) AddFlags(f *pflag.FlagSet) {
	o.stateOption.AddFlags(f)
	f.StringVar(&o.mode, "mode", "", "esxi or vcenter (default: as before, or esxi)")
	f.StringVar(&o.subnet, "subnet", "", "10.118.N.0/24, the network that guests see; N keeps labs apart (default: as before, or the first that is free)")
	f.StringVar(&o.listen, "listen", "", "loopback address and port of the vSphere API (default: as before, or "+firstAPI+", or a free port)")
	f.StringVar(&o.registry, "registry-listen", "", "loopback address and port of the image registry (default: as before, or "+firstRegistry+", or a free port)")
	f.StringVar(&o.capacity, "datastore-capacity", "", "limit of each datastore, like 20GB (default: what the disk has)")
	f.StringSliceVar(&o.datastores, "datastore", nil, "datastores of a new lab (default mydatastore,datastore2)")
	f.StringVar(&o.accel, "accel", "", "tcg, kvm, or nothing to find out")
	f.StringVar(&o.probe, "probe-iso", "", "image that proves whether KVM works (default: bootstrap.iso beside this program)")
	f.StringVar(&o.images, "images", "", "folder of the registry's images (default: images beside this program)")
	f.BoolVar(&o.noRegistry, "no-registry", false, "run no image registry")
	f.BoolVar(&o.noForwards, "no-forwards", false, "do not forward guests' ports to this computer")
	f.BoolVar(&o.foreground, "foreground", false, "stay in the foreground and log to stderr")
	f.BoolVar(&o.debug, "debug", false, "log more")
}

func upCommand(t Terminal) *cobra.Command {
	o := &upOptions{}
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the lab, or say that it is up",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runUp(c.Context(), t, o) },
	}
	o.AddFlags(c.Flags())
	return c
}

// complete checks the options and makes paths absolute.
func (o *upOptions) complete(t Terminal) (err error) {
	if o.dir, err = o.path(t); err != nil {
		return err
	}
	if o.capacity != "" {
		if o.capacityInB, err = units.FromHumanSize(o.capacity); err != nil || o.capacityInB <= 0 {
			return fmt.Errorf("--datastore-capacity %s: want a size like 20GB: %w", o.capacity, errdefs.ErrInvalidArgument)
		}
	}
	if o.mode == "" {
		o.mode = string(lab.ModeOf(o.dir))
	}
	if o.images, err = beside(o.images, "images"); err != nil {
		return err
	}
	o.probe, err = beside(o.probe, "bootstrap.iso")
	return err
}

func runUp(ctx context.Context, t Terminal, o *upOptions) error {
	if err := o.complete(t); err != nil {
		return err
	}
	if o.foreground {
		return serve(ctx, t, o)
	}
	i, err := readInfo(o.dir)
	if err == nil && i.Mode != o.mode {
		return fmt.Errorf("the lab in %s is up in mode %s: `vic-lab down` it, and take another --state for mode %s: %w", o.dir, i.Mode, o.mode, errdefs.ErrConflict)
	}
	if err == nil && o.subnet != "" && i.Subnet != o.subnet {
		return fmt.Errorf("the lab in %s is up on %s: take another --state for a lab on %s: %w", o.dir, i.Subnet, o.subnet, errdefs.ErrConflict)
	}
	if errdefs.IsNotFound(err) {
		i, err = daemon(ctx, t, o)
	}
	if err != nil {
		return err
	}
	describe(t.Out, i)
	return nil
}

// describe prints how to use the lab.
func describe(w io.Writer, i info) {
	fmt.Fprintf(w, "lab (%s) is up\n", i.Mode)
	for _, kv := range [][2]string{{"target", i.Target}, {"user", i.User}, {"password", "cat " + i.PasswordFile},
		{"thumbprint", i.Thumbprint}, {"registry", i.Registry}, {"network", network(i)}, {"log", i.Log}} {
		if kv[1] != "" {
			fmt.Fprintf(w, "  %-11s %s\n", kv[0], kv[1])
		}
	}
	fmt.Fprintf(w, "  environment . %s\n", i.EnvFile)
}

// network says where guests are, for them and for this computer.
func network(i info) string {
	if i.Alias == "" {
		return i.Subnet
	}
	return i.Subnet + ", from here " + i.Alias
}

// beside is a path as given, or name in the folder of this program.
func beside(given, name string) (string, error) {
	if given != "" {
		return filepath.Abs(given)
	}
	exe, err := executable()
	if err != nil {
		return "", errors.New("where this program is can't be told: name the file")
	}
	return filepath.Join(filepath.Dir(exe), name), nil
}
