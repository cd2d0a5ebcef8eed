package install

import (
	"context"

	"github.com/vic-engine/vic/pkg/vsphere"
)

func leftovers(ctx context.Context, o DeleteOptions, s *vsphere.Session, env Env, missing error) error {
	return missing
}
