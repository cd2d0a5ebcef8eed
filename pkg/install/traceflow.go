package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// TraceOptions are the wishes of vic-machine traceflow.
type TraceOptions struct {
	Read ReadOptions
	Name string // of the VCH
	// From is a container, To a container or an address.
	From, To string
	Proto    string // "tcp", "udp" or "icmp"
	Port     int
	// CertDir and Dial are those of GrowOptions.
	CertDir string
	Dial    Dialer
}

func (o TraceOptions) check() error {
	var errs []error
	if o.From == "" {
		errs = append(errs, issuef("--from", "name the container that begins the connection"))
	}
	if o.To == "" {
		errs = append(errs, issuef("--to", "name the container, or the address, that the connection is to"))
	}
	switch o.Proto {
	case "tcp", "udp":
		if o.Port < 1 || o.Port > 65535 {
			errs = append(errs, issuef("--port", "%d: give the port of the destination, from 1 to 65535", o.Port))
		}
	case "icmp":
		if o.Port != 0 {
			errs = append(errs, issuef("--port", "%d: icmp has no ports, leave it out", o.Port))
		}
	default:
		errs = append(errs, issuef("--proto", "%q: want tcp, udp or icmp", o.Proto))
	}
	return errors.Join(errs...)
}

// Traceflow asks a VCH's engine what becomes of a connection, and what decides.
func Traceflow(ctx context.Context, o TraceOptions, log *logrus.Entry) (policy.Trace, error) {
	var t policy.Trace
	if err := o.check(); err != nil {
		return t, err
	}
	err := with(ctx, o.Read, log, func(ctx context.Context, s *vsphere.Session) error {
		a, err := Find(ctx, s, o.Name)
		if err != nil {
			return err
		}
		if a.State.Power != types.VirtualMachinePowerStatePoweredOn || a.State.Address == "" {
			return fmt.Errorf("VCH %s is not running (%s): its engine knows the rules: %w", o.Name, a.status(), errdefs.ErrFailedPrecondition)
		}
		client, base, err := GrowOptions{Name: o.Name, CertDir: o.CertDir, Dial: o.Dial}.engine(a)
		if err != nil {
			return err
		}
		body, err := json.Marshal(map[string]any{"From": o.From, "To": o.To, "Proto": o.Proto, "Port": o.Port})
		if err != nil {
			return err
		}
		text, err := ask(ctx, client, base+"/vic/traceflow", body, "trace connections")
		if err != nil {
			return err
		}
		if err := json.Unmarshal(text, &t); err != nil {
			return fmt.Errorf("the engine's answer: %w", err)
		}
		return nil
	})
	return t, err
}

// TraceText is a trace for people: the verdict, then what decided.
func TraceText(o TraceOptions, t policy.Trace) string {
	var b strings.Builder
	verdict := "DENIED"
	if t.Allowed {
		verdict = "ALLOWED"
	}
	flow := o.Proto
	if o.Port != 0 {
		flow = fmt.Sprintf("%s/%d", o.Proto, o.Port)
	}
	fmt.Fprintf(&b, "%s %s from %s to %s\n", verdict, flow, end(o.From, t.Source), end(o.To, t.Destination))
	fmt.Fprintf(&b, "decided at: %s\nreason: %s\n", t.Point, t.Reason)
	if t.Rule != "" {
		fmt.Fprintf(&b, "rule: %s\n", t.Rule)
	}
	if t.Network != "" {
		fmt.Fprintf(&b, "network: %s\n", t.Network)
	}
	return b.String()
}

func end(name, address string) string {
	if address == "" || address == name {
		return name
	}
	return name + " (" + address + ")"
}
