package engine

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// TestDockerWords: refusals in the words of dockerd, which `make conformance` compares.
func TestDockerWords(t *testing.T) {
	exposed := func(p string) error { return checkExposed(map[string]struct{}{p: {}}) }
	for _, c := range []struct {
		err  error
		want string // "": no error
	}{
		{checkVolumeName("ab"), ""},
		{checkVolumeName("a"), "create a: volume name is too short"},
		{checkVolumeName("-ab"), `create -ab: "-ab" includes invalid characters for a local volume name`},
		{checkVolumeName("../ab"), "includes invalid characters"},
		{checkVolumeName(""), "includes invalid characters"},
		{checkImageRef("busybox"), ""},
		{checkImageRef("registry.example.com:5000/a/b:c"), ""},
		{checkImageRef("sha256:0123"), ""},
		{checkImageRef("0123456789ab"), ""},
		{checkImageRef(strings.Repeat("a", 64)), ""},
		{checkImageRef("UPPER"), "invalid reference format: repository name (library/UPPER) must be lowercase"},
		{checkImageRef("a b"), "invalid reference format"},
		{checkImageRef(""), "invalid reference format"},
		{exposed("80/tcp"), ""},
		{exposed("80"), ""},
		{exposed("8000-8010/udp"), ""},
		{exposed("x/tcp"), "invalid JSON: invalid port 'x': invalid syntax"},
		{exposed("99999/tcp"), "invalid JSON: invalid port '99999': value out of range"},
		{exposed("1-x/tcp"), "invalid port '1-x'"},
	} {
		switch {
		case c.want == "" && c.err != nil:
			t.Errorf("%v, want none", c.err)
		case c.want != "" && (c.err == nil || !strings.Contains(c.err.Error(), c.want) || !errdefs.IsInvalidArgument(c.err)):
			t.Errorf("%v, want %q", c.err, c.want)
		}
	}
}
