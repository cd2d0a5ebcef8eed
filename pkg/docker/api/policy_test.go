package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/policy"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// policies has rules and gives back what it was asked.
type policies struct {
	set   policy.Set
	asked policy.Flow
}

func (p *policies) Policies() policy.Set { return p.set }

func (p *policies) Traceflow(f policy.Flow) policy.Trace {
	p.asked = f
	return policy.Trace{Point: policy.PointSource, Reason: "denied by a rule", Rule: "deny tcp/80 from tier=front to any"}
}

func TestPolicies(t *testing.T) {
	rule := func(name, network, text string) policy.Policy {
		rules, err := policy.ParseRules(text)
		if err != nil {
			t.Fatal(err)
		}
		return policy.Policy{Name: name, Network: network, Rules: rules}
	}
	p := &policies{set: policy.NewSet(rule("web", "front", "deny tcp/80 from tier=front to tier=front; 7 allow icmp from any to x"),
		rule("all", "", "deny udp from tier=front to any"), rule("other", "elsewhere", "deny any from any to any"))}
	h := serveWith(t, func(c *engine.Config) { c.Policies = p })
	h.front()
	run := func(name, tier string, start bool) string {
		r, err := h.c.ContainerCreate(h.ctx, &container.Config{Image: "busybox", Cmd: []string{"sleep", "1h"}, Labels: map[string]string{"tier": tier}},
			&container.HostConfig{NetworkMode: "front"}, &network.NetworkingConfig{}, nil, name)
		if err != nil {
			t.Fatal(err)
		}
		if start {
			h.start(r.ID)
		}
		return r.ID
	}
	one := run("web1", "front", true)
	run("web2", "front", true)
	run("back", "back", true)
	run("off", "front", false)
	var n struct{ Options map[string]string }
	if err := json.Unmarshal([]byte(h.get("/networks/front")), &n); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for k, v := range n.Options {
		if strings.HasPrefix(k, "vic.policy.") {
			got[k] = v
		}
	}
	want := map[string]string{
		"vic.policy.web.1":     "deny tcp/80 from tier=front [web1 web2] to tier=front [web1 web2]",
		"vic.policy.web.2":     "7 allow icmp from any to x []",
		"vic.policy.vch/all.1": "deny udp from tier=front [web1 web2] to any",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{`{"From":"web1","To":"back","Proto":"tcp","Port":80}`, 200, `{"allowed":false,"point":"source guest, out","reason":"denied by a rule","rule":"deny tcp/80 from tier=front to any"}`},
		{`{"From":"` + one[:12] + `","To":"10.9.9.9","Proto":"icmp"}`, 200, `"allowed":false`},
		{`{"From":"nope","To":"back","Proto":"tcp","Port":80}`, 404, "No such container: nope"},
		{`{"From":"web1","To":"nope","Proto":"tcp","Port":80}`, 404, "No such container: nope"},
		{`{"From":"web1","To":"back","Proto":"tcp"}`, 400, "port 0: want"},
		{`{"From":"web1","To":"back","Proto":"tcp","Port":65536}`, 400, "port 65536: want"},
		{`{"From":"web1","To":"back","Proto":"icmp","Port":8}`, 400, "icmp has no ports"},
		{`{"From":"web1","To":"back","Proto":"sctp","Port":8}`, 400, "want tcp, udp or icmp"},
		{`{`, 400, "invalid JSON"},
	} {
		if status, body := h.do("POST", "/v1.51/vic/traceflow", c.body); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s, want %d %s", c.body, status, body, c.status, c.want)
		}
		if c.status == 200 && (p.asked.From != one || p.asked.To == "" && !p.asked.Address.IsValid()) {
			t.Errorf("%s: asked %+v", c.body, p.asked)
		}
	}
	without := serve(t, false)
	if status, body := without.do("POST", "/v1.51/vic/traceflow", `{"From":"a","To":"b","Proto":"icmp"}`); status != 501 {
		t.Errorf("without policies: %d %s", status, body)
	}
}

// FuzzTraceflow: no body ends the engine.
func FuzzTraceflow(f *testing.F) {
	h := serveWith(f, func(c *engine.Config) { c.Policies = &policies{} })
	f.Add(`{"From":"a","To":"10.0.0.1","Proto":"tcp","Port":80}`)
	f.Add(`{"From":"a","To":"fe80::1%x","Proto":"icmp"}`)
	f.Fuzz(func(t *testing.T, body string) {
		send(t, h, "POST", "/v1.51/vic/traceflow", body)
	})
}
