package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/containerd/errdefs"
	"github.com/spf13/cobra"
	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
)

type statusOptions struct {
	stateOption
	output string
}

// status is what -o json prints.
type status struct {
	Running    bool              `json:"running"`
	Lab        *info             `json:"lab,omitempty"`
	VMs        []vmStatus        `json:"vms,omitempty"`
	Datastores []datastoreStatus `json:"datastores,omitempty"`
}

type vmStatus struct {
	Name  string `json:"name"`
	Power string `json:"power"`
	IP    string `json:"ip,omitempty"`
}

type datastoreStatus struct {
	Name     string `json:"name"`
	Capacity int64  `json:"capacity"` // bytes
	Free     int64  `json:"free"`     // bytes
}

func statusCommand(t Terminal) *cobra.Command {
	o := &statusOptions{}
	c := &cobra.Command{
		Use:   "status",
		Short: "Say what is running",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runStatus(c.Context(), t, o) },
	}
	o.AddFlags(c.Flags())
	c.Flags().StringVarP(&o.output, "output", "o", "text", "text or json")
	return c
}

func runStatus(ctx context.Context, t Terminal, o *statusOptions) error {
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("--output %s: want text or json: %w", o.output, errdefs.ErrInvalidArgument)
	}
	state, err := o.path(t)
	if err != nil {
		return err
	}
	var s status
	i, err := readInfo(state)
	switch {
	case err == nil:
		s.Running, s.Lab = true, &i
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := s.ask(ctx, i); err != nil {
			return fmt.Errorf("ask the lab at %s: %w", i.Target, err)
		}
	case !errdefs.IsNotFound(err):
		return err
	}
	if o.output == "json" {
		e := json.NewEncoder(t.Out)
		e.SetIndent("", "  ")
		return e.Encode(s)
	}
	if !s.Running {
		fmt.Fprintf(t.Out, "no lab runs in %s\n", state)
		return nil
	}
	s.print(t)
	return nil
}

// ask reads VMs and datastores over the lab's own API.
func (s *status) ask(ctx context.Context, i info) error {
	pass, err := os.ReadFile(i.PasswordFile)
	if err != nil {
		return err
	}
	u, err := url.Parse(i.URL)
	if err != nil {
		return err
	}
	sc := soap.NewClient(u, true)
	sc.SetThumbprint(u.Host, i.Thumbprint)
	vc, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return err
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	if err := c.Login(ctx, url.UserPassword(i.User, strings.TrimSpace(string(pass)))); err != nil {
		return err
	}
	defer func() { _ = c.Logout(context.WithoutCancel(ctx)) }() // bounded by the server's end
	v, err := view.NewManager(vc).CreateContainerView(ctx, vc.ServiceContent.RootFolder, []string{"VirtualMachine", "Datastore"}, true)
	if err != nil {
		return err
	}
	var vms []mo.VirtualMachine
	if err := v.Retrieve(ctx, []string{"VirtualMachine"}, []string{"name", "runtime.powerState", "guest.ipAddress"}, &vms); err != nil {
		return err
	}
	for _, m := range vms {
		x := vmStatus{Name: m.Name, Power: string(m.Runtime.PowerState)}
		if m.Guest != nil {
			x.IP = m.Guest.IpAddress
		}
		s.VMs = append(s.VMs, x)
	}
	sort.Slice(s.VMs, func(i, j int) bool { return s.VMs[i].Name < s.VMs[j].Name })
	var dss []mo.Datastore
	if err := v.Retrieve(ctx, []string{"Datastore"}, []string{"name", "summary"}, &dss); err != nil {
		return err
	}
	for _, d := range dss {
		s.Datastores = append(s.Datastores, datastoreStatus{Name: d.Name, Capacity: d.Summary.Capacity, Free: d.Summary.FreeSpace})
	}
	sort.Slice(s.Datastores, func(i, j int) bool { return s.Datastores[i].Name < s.Datastores[j].Name })
	return nil
}

func (s *status) print(t Terminal) {
	describe(t.Out, *s.Lab)
	w := tabwriter.NewWriter(t.Out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "\nDATASTORE\tCAPACITY\tFREE")
	for _, d := range s.Datastores {
		fmt.Fprintf(w, "%s\t%.1f GB\t%.1f GB\n", d.Name, float64(d.Capacity)/1e9, float64(d.Free)/1e9)
	}
	fmt.Fprintln(w, "\nVM\tPOWER\tADDRESS")
	for _, m := range s.VMs {
		fmt.Fprintf(w, "%s\t%s\t%s\n", m.Name, m.Power, m.IP)
	}
	_ = w.Flush()
}
