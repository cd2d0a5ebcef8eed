package command

import (
	"strings"
	"testing"
)

func TestDeleteOfNothing(t *testing.T) {
	stdout, _, code := host(t).run(t, "delete", "--name", "nope")
	if code != 1 || !strings.Contains(stdout, "] ### Removing VCH ####\n") || !strings.Contains(stdout, `delete failed: --name "nope": there is no such VCH`) {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}

func TestDeleteOfAnotherVM(t *testing.T) {
	stdout, _, code := host(t).run(t, "delete", "--name", "ha-host_VM0", "--force")
	if code != 1 || !strings.Contains(stdout, "it is left alone") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}
