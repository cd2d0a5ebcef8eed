package policy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Grammar is the form of a rule, as errors tell it.
const Grammar = "[PRIORITY] allow|deny tcp|udp|icmp|any[/PORTS] from GROUP to GROUP, where GROUP is any or key=value[,key…]"

const (
	// maxText bounds what is parsed at once, in bytes: a policy file, or the
	// value of a label.
	maxText = 256 << 10
	// maxRules bounds the rules of one policy.
	maxRules = 1000
	// maxPorts bounds the port ranges of one rule.
	maxPorts = 64
)

// nameOK are the names that policies may have.
var nameOK = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)

// keyOK are label keys that a selector can name.
var keyOK = regexp.MustCompile(`^[^\s,=;]+$`)

// problem is an ErrInvalidArgument whose text is for users, with nothing added.
type problem struct{ text string }

func (p *problem) Error() string { return p.text }
func (*problem) Unwrap() error   { return errdefs.ErrInvalidArgument }

func invalid(format string, args ...any) error { return &problem{fmt.Sprintf(format, args...)} }

// badRule says what is wrong with which text, and how it should be.
func badRule(text, what string) error {
	return invalid("rule %q: %s; the form is: %s", text, what, Grammar)
}

// Parse reads one rule. An error is ErrInvalidArgument and names the text and the
// grammar.
func Parse(text string) (Rule, error) {
	r := Rule{Priority: DefaultPriority, Line: 1}
	bad := func(format string, args ...any) (Rule, error) {
		return Rule{}, badRule(text, fmt.Sprintf(format, args...))
	}
	words := strings.Fields(text)
	if len(words) > 0 && words[0][0] >= '0' && words[0][0] <= '9' {
		n, err := strconv.Atoi(words[0])
		if err != nil || n > maxPriority {
			return bad("priority %q: want a number from 0 to %d", words[0], maxPriority)
		}
		r.Priority, words = n, words[1:]
	}
	if len(words) != 6 {
		return bad("want six words, or seven with a priority")
	}
	switch words[0] {
	case "allow":
	case "deny":
		r.Deny = true
	default:
		return bad("%q is neither allow nor deny", words[0])
	}
	if words[2] != "from" || words[4] != "to" {
		return bad("want the words from and to before the groups")
	}
	proto, ports, some := strings.Cut(words[1], "/")
	if !slices.Contains([]string{"tcp", "udp", "icmp", "any"}, proto) {
		return bad("protocol %q: want tcp, udp, icmp or any", proto)
	}
	r.Proto = proto
	if some {
		if proto != "tcp" && proto != "udp" {
			return bad("ports go with tcp and udp only")
		}
		var err error
		if r.Ports, err = parsePorts(ports); err != nil {
			return bad("%v", err)
		}
	}
	var err error
	if r.From, err = parseGroup(words[3]); err != nil {
		return bad("from: %v", err)
	}
	if r.To, err = parseGroup(words[5]); err != nil {
		return bad("to: %v", err)
	}
	return r, nil
}

func parsePorts(text string) ([]spec.PortRange, error) {
	var out []spec.PortRange
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		p := spec.PortRange{First: port(first), Last: port(last)}
		if p.First == 0 || p.Last < p.First {
			return nil, fmt.Errorf("port %q: want numbers from 1 to 65535, as in 80,443,8000-8999", part)
		}
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b spec.PortRange) int {
		return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
	})
	merged := out[:1]
	for _, p := range out[1:] {
		if last := &merged[len(merged)-1]; int(p.First) <= int(last.Last)+1 {
			last.Last = max(last.Last, p.Last)
			continue
		}
		merged = append(merged, p)
	}
	if len(merged) > maxPorts {
		return nil, fmt.Errorf("%d port ranges: the limit is %d", len(merged), maxPorts)
	}
	return merged, nil
}

// port is 0 for what is none.
func port(s string) uint16 {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

func parseGroup(text string) (Group, error) {
	if text == "any" {
		return Group{}, nil
	}
	var g Group
	for part := range strings.SplitSeq(text, ",") {
		var t Term
		t.Key, t.Value, t.Equal = strings.Cut(part, "=")
		switch {
		case !keyOK.MatchString(t.Key) || strings.ContainsAny(t.Value, ";"):
			return g, fmt.Errorf("%q is no label selector: want key=value or key", part)
		case t.Key == "any" && !t.Equal:
			return g, errors.New("any stands alone")
		}
		g.Terms = append(g.Terms, t)
	}
	return g, nil
}

// ParseRules reads the rules of one policy, separated by semicolons or lines. All
// problems are joined.
func ParseRules(text string) ([]Rule, error) {
	if len(text) > maxText {
		return nil, badRule(text[:40]+"…", fmt.Sprintf("it has more than %d bytes", maxText))
	}
	var list []string
	for part := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	if len(list) == 0 {
		return nil, badRule(text, "there is no rule in it")
	}
	return parseAll(list)
}

func parseAll(list []string) ([]Rule, error) {
	if len(list) > maxRules {
		return nil, invalid("%d rules: the limit of a policy is %d", len(list), maxRules)
	}
	var out []Rule
	var errs []error
	for i, text := range list {
		r, err := Parse(text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.Line = i + 1
		out = append(out, r)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}
