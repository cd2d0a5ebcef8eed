package tether

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// TestTakes: a guest takes what it can keep account of, and says what is missing.
func TestTakes(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		available, mb int64
		refused       string
	}{
		{170 * mib, 2816, ""},
		{18 * mib, 128, ""},
		{18*mib - 1, 128, "has 1 MiB of memory to spare, and would need 2 for 128 MiB more"},
		{18 * mib, 2944, "would need 46 for 2944 MiB more"},
		{6 * mib, 128, "has 0 MiB of memory to spare"},
	} {
		err := takes(tc.available, tc.mb)
		if tc.refused == "" && err != nil || tc.refused != "" && (!errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), tc.refused)) {
			t.Errorf("%d MiB with %d bytes available: %v, want %q", tc.mb, tc.available, err, tc.refused)
		}
	}
}
