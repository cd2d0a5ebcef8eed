package command

import (
	"strings"
	"testing"
)

func TestTraceflowRefusals(t *testing.T) {
	c := host(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"-n", "nope", "--from", "a", "--to", "b", "--port", "80"}, `traceflow failed: --name "nope": there is no such VCH`},
		{[]string{"--to", "b", "--port", "80"}, "--from name the container"},
		{[]string{"--from", "a", "--port", "80"}, "--to name the container, or the address"},
		{[]string{"--from", "a", "--to", "b"}, "--port 0: give the port of the destination"},
		{[]string{"--from", "a", "--to", "b", "--proto", "icmp", "--port", "8"}, "icmp has no ports"},
		{[]string{"--from", "a", "--to", "b", "--proto", "sctp"}, `--proto "sctp": want tcp, udp or icmp`},
		{[]string{"--from", "a", "--to", "b", "--port", "80", "-o", "xml"}, `--output "xml"`},
	} {
		stdout, stderr, code := c.run(t, append([]string{"traceflow"}, tc.args...)...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d, want %q\n%s%s", tc.args, code, tc.want, stdout, stderr)
		}
	}
}
