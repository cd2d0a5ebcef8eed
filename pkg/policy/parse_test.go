package policy

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

func TestParse(t *testing.T) {
	front := Group{[]Term{{"tier", "frontend", true}}}
	for _, c := range []struct {
		text string
		want Rule
		says string // the rule as it is spelled; empty: as it was
	}{
		{"deny tcp/80 from tier=frontend to tier=frontend",
			Rule{Line: 1, Priority: 1000, Deny: true, Proto: "tcp", Ports: []spec.PortRange{{First: 80, Last: 80}}, From: front, To: front}, ""},
		{"5 allow any from any to app=shop,tier=frontend",
			Rule{Line: 1, Priority: 5, Proto: "any", To: Group{[]Term{{"app", "shop", true}, {"tier", "frontend", true}}}}, ""},
		{"  1000   allow udp/53,5353-5355,5356,70-60000,1   from  com.example/x to any ",
			Rule{Line: 1, Priority: 1000, Proto: "udp", Ports: []spec.PortRange{{First: 1, Last: 1}, {First: 53, Last: 53}, {First: 70, Last: 60000}},
				From: Group{[]Term{{Key: "com.example/x"}}}}, "allow udp/1,53,70-60000 from com.example/x to any"},
		{"0 deny icmp from empty= to a=b=c",
			Rule{Line: 1, Priority: 0, Deny: true, Proto: "icmp", From: Group{[]Term{{"empty", "", true}}}, To: Group{[]Term{{"a", "b=c", true}}}}, ""},
	} {
		got, err := Parse(c.text)
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%q: %v %s", c.text, err, d)
		}
		if c.says == "" {
			c.says = c.text
		}
		if got.String() != c.says {
			t.Errorf("%q is spelled %q", c.text, got.String())
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "six words",
		"deny":                             "six words",
		"forbid tcp from any to any":       `"forbid" is neither`,
		"deny sctp from any to any":        `protocol "sctp"`,
		"deny icmp/8 from any to any":      "ports go with",
		"deny any/80 from any to any":      "ports go with",
		"deny tcp/0 from any to any":       `port "0"`,
		"deny tcp/ from any to any":        `port ""`,
		"deny tcp/80- from any to any":     `port "80-"`,
		"deny tcp/90-80 from any to any":   `port "90-80"`,
		"deny tcp/65536 from any to any":   `port "65536"`,
		"deny tcp/+80 from any to any":     `port "+80"`,
		"deny tcp to any from any":         "from and to",
		"deny tcp from a=1, to any":        `"" is no label selector`,
		"deny tcp from =x to any":          `"=x" is no label`,
		"deny tcp from any,a=b to any":     "any stands alone",
		"65536 deny tcp from any to any":   `priority "65536"`,
		"1x deny tcp from any to any":      `priority "1x"`,
		"-1 deny tcp from any to any":      "six words",
		"deny tcp from any to any or more": "six words",
	} {
		if r, err := Parse(text); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), Grammar) {
			t.Errorf("%q: %+v, %v, want %q", text, r, err, want)
		}
	}
	if _, err := Parse("deny tcp/" + strings.Repeat("2,4,6,8,", 1) + strings.Join(odd(200), ",") + " from any to any"); err == nil || !strings.Contains(err.Error(), "port ranges") {
		t.Errorf("many ports: %v", err)
	}
}

func odd(n int) []string {
	var out []string
	for i := range n {
		out = append(out, spec.PortRange{First: uint16(101 + 2*i), Last: uint16(101 + 2*i)}.String())
	}
	return out
}

func TestLabels(t *testing.T) {
	got, err := FromLabels("shop", map[string]string{
		"vic.policy.b": "deny any from a=1 to b=2; 7 allow icmp from any to any\n", "vic.policy.a": "allow tcp from any to any", "other": "x",
	})
	if err != nil || len(got) != 2 || got[0].Name != "a" || got[1].Network != "shop" || len(got[1].Rules) != 2 || got[1].Rules[1].Line != 2 || got[1].Rules[1].Priority != 7 {
		t.Errorf("%+v %v", got, err)
	}
	for label, want := range map[[2]string]string{
		{"vic.policy.x", "deny"}:                               `label vic.policy.x: rule "deny": `,
		{"vic.policy.x", " ; "}:                                "no rule in it",
		{"vic.policy.", "deny any from any to any"}:            `policy name ""`,
		{"vic.policy.a b", "deny any from any to any"}:         `policy name "a b"`,
		{"vic.policy.x", strings.Repeat("x", maxText+1)}:       "more than",
		{"vic.policy.x", strings.Repeat("a;", maxRules) + "b"}: "the limit of a policy",
	} {
		if _, err := FromLabels("n", map[string]string{label[0]: label[1]}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %.100v, want %q", label, err, want)
		}
	}
}

func TestFile(t *testing.T) {
	want := []Policy{{Name: "tiers", Rules: []Rule{
		{Line: 1, Priority: 1000, Deny: true, Proto: "tcp", Ports: []spec.PortRange{{First: 80, Last: 80}}, From: Group{[]Term{{Key: "x"}}}},
		{Line: 2, Priority: 1000, Proto: "any"},
	}}}
	for _, text := range []string{
		"# tiers\npolicies:\n- name: tiers\n  rules:\n  - deny tcp/80 from x to any\n  - allow any from any to any\n",
		`{"policies": [{"name": "tiers", "rules": ["deny tcp/80 from x to any", "allow any from any to any"]}]}`,
	} {
		got, err := ParseFile([]byte(text))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", text, err, d)
		}
	}
	for text, want := range map[string]string{
		"": "0 policies", "policies: []": "0 policies", "policies: x": "the form is", "[": "the form is",
		"policies:\n- name: a\n  rules: [x]\n  more: y\n":                        "more",
		"policies:\n- name: a\n  rules: []\n":                                    "policy a has no rules",
		"policies:\n- name: a b\n  rules: [allow any from any to any]\n":         `policy name "a b"`,
		"policies:\n- name: a\n  rules: [nonsense]\n":                            `policy a: rule "nonsense"`,
		"policies: [{name: a, rules: [allow any from any to any]}]\n---\nx: 1\n": "more than one document",
		"policies: [{name: a, rules: [x]}, {name: a, rules: [x]}]":               "policy a is there twice",
		strings.Repeat("#", MaxFile+1):                                           "the limit is",
	} {
		if _, err := ParseFile([]byte(text)); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

// FuzzParse: what is read is spelled so that it is read again as the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"deny tcp/80 from tier=frontend to tier=frontend", "7 allow udp/1-2,9 from a,b=c to any", "allow icmp from any to any"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatal(err)
			}
			return
		}
		again, err := Parse(r.String())
		if d := cmp.Diff(r, again); d != "" || err != nil {
			t.Fatalf("%q as %q: %v %s", text, r, err, d)
		}
	})
}

// FuzzFile: no file is the end of the program.
func FuzzFile(f *testing.F) {
	f.Add([]byte("policies:\n- name: tiers\n  rules:\n  - deny tcp/80 from x to any\n"))
	f.Add([]byte(`{"policies": [{"name": "a", "rules": ["allow any from any to any"]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := ParseFile(text)
		if err == nil && len(NewSet(list...)) == 0 || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Fatalf("%d policies, %v", len(list), err)
		}
	})
}
