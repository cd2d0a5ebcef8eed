package command

import (
	"strings"
	"testing"
)

func TestLsOfNothing(t *testing.T) {
	c := host(t)
	stdout, stderr, code := c.run(t, "ls")
	if code != 0 || strings.Join(strings.Fields(stdout), " ") != "ID PATH NAME VERSION STATUS" || stderr != "" {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if stdout, _, code = c.run(t, "ls", "-o", "json"); code != 0 || stdout != "[]\n" {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	if stdout, stderr, code = c.run(t, "ls", "-o", "yaml"); code != 1 || stdout != "" || !strings.Contains(stderr, "only json") {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
