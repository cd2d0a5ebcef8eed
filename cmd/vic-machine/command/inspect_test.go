package command

import (
	"strings"
	"testing"
)

func TestInspectOfNothing(t *testing.T) {
	stdout, stderr, code := host(t).run(t, "inspect", "-n", "nope", "-o", "json")
	if code != 1 || stdout != "" || !strings.Contains(stderr, `inspect failed: --name "nope": there is no such VCH`) {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}
