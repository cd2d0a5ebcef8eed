package command

import (
	"strings"
	"testing"
)

func TestVolumeGrowRefusals(t *testing.T) {
	c := host(t)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"volume", "grow", "-n", "nope", "--volume", "db", "--size", "20GB"}, `volume grow failed: --name "nope": there is no such VCH`},
		{[]string{"volume", "grow", "-n", "nope", "--size", "20GB"}, "name the volume to grow"},
		{[]string{"volume", "grow", "-n", "nope", "--volume", "db"}, "give the size"},
		{[]string{"volume", "grow", "-n", "nope", "--volume", "db", "--size", "big"}, `"big" is no size`},
		{[]string{"volume", "grow", "-n", "nope", "--volume", "db", "--size", "0"}, "cannot have this size"},
	} {
		stdout, stderr, code := c.run(t, tc.args...)
		if code != 1 || stdout != "" || !strings.Contains(stderr, tc.want) {
			t.Errorf("%q: exit %d, want %q\n%s%s", tc.args, code, tc.want, stdout, stderr)
		}
	}
}
