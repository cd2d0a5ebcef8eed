package builder

import (
	"context"
	"errors"
	"fmt"
	"io"

	control "github.com/moby/buildkit/api/services/control"
)

// Cache gives the records of the build cache.
func (u *Use) Cache(ctx context.Context) ([]*control.UsageRecord, error) {
	r, err := control.NewControlClient(u.conn).DiskUsage(ctx, &control.DiskUsageRequest{})
	if err != nil {
		return nil, fmt.Errorf("build cache: %w", err)
	}
	return r.Record, nil
}

// Prune removes records and gives those removed.
func (u *Use) Prune(ctx context.Context, r *control.PruneRequest) ([]*control.UsageRecord, error) {
	s, err := control.NewControlClient(u.conn).Prune(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("prune the build cache: %w", err)
	}
	var out []*control.UsageRecord
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, fmt.Errorf("prune the build cache: %w", err)
		}
		out = append(out, m)
	}
}
