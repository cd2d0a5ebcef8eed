package install

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestTraceflow(t *testing.T) {
	f := newFixture(t, true)
	ctx := context.Background()
	c := f.create()
	c.PolicyFile = filepath.Join(f.work, "policies.yaml")
	text := "policies:\n- name: tiers\n  rules:\n  - deny tcp/80 from a to b\n"
	must(t, os.WriteFile(c.PolicyFile, []byte(text), 0o600))
	must(t, Create(ctx, c, f.env()))
	if got := f.guest.secrets.Policies; got != text {
		t.Errorf("the VCH has the policies %q", got)
	}
	o := TraceOptions{
		Read: ReadOptions{Target: f.target(), Timeout: patience},
		Name: "VCH001", From: "web1", To: "web2", Proto: "tcp", Port: 80, Dial: f.guest.dial,
	}
	log := f.env().Log
	tr, err := Traceflow(ctx, o, log)
	const want = "DENIED tcp/80 from web1 (172.16.0.2) to web2 (172.16.0.3)\ndecided at: source guest, out\nreason: denied by policy web\nrule: deny tcp/80 from a to b\n"
	if got := TraceText(o, tr); err != nil || got != want {
		t.Errorf("%v\n%s", err, got)
	}
	for want, change := range map[string]func(*TraceOptions){
		"--from": func(o *TraceOptions) { o.From = "" }, "--to": func(o *TraceOptions) { o.To = "" },
		"--port 0: give the port": func(o *TraceOptions) { o.Port = 0 }, "icmp has no ports": func(o *TraceOptions) { o.Proto = "icmp" },
		`--proto "sctp": want`: func(o *TraceOptions) { o.Proto = "sctp" }, "there is no such VCH": func(o *TraceOptions) { o.Name = "VCH002" },
	} {
		bad := o
		change(&bad)
		if _, err := Traceflow(ctx, bad, log); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestPolicyFileRefused(t *testing.T) {
	f := newFixture(t, true)
	c := f.create()
	c.PolicyFile = filepath.Join(f.work, "policies.yaml")
	must(t, os.WriteFile(c.PolicyFile, []byte("policies:\n- name: tiers\n  rules:\n  - deny all\n"), 0o600))
	out := new(strings.Builder)
	env := f.env()
	env.Out = out
	if err := Create(context.Background(), c, env); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), `policies.yaml: policy tiers: rule "deny all": want six words`) {
		t.Errorf("%v", err)
	}
}
