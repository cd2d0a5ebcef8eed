package image_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	. "github.com/vic-engine/vic/pkg/image"
)

// TestConfigOfManyObjects: what a configuration takes in memory is bounded by more
// than its bytes.
func TestConfigOfManyObjects(t *testing.T) {
	conf := func(n int) []byte {
		return []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"history":[` + strings.Repeat("{},", n-1) + `{}]}`)
	}
	if c, err := ParseConfig(conf(10_000)); err != nil || len(c.History) != 10_000 {
		t.Errorf("%d, %v", len(c.History), err)
	}
	if _, err := ParseConfig(conf(1_000_000)); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%v", err)
	}
}
