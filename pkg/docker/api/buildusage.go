package api

import (
	"context"

	"github.com/docker/docker/api/server/router/system"
	"github.com/docker/docker/api/types/build"
	control "github.com/moby/buildkit/api/services/control"
)

// buildUsage gives `system df` the build cache.
type buildUsage struct{ *server }

// buildBackend is none for an engine without a builder.
func (s *server) buildBackend() system.BuildBackend {
	if s.Builder == nil {
		return nil
	}
	return buildUsage{s}
}

// DiskUsage is of a builder that runs: one that is stopped is not started for it,
// which would take longer than anybody waits for a table.
func (b buildUsage) DiskUsage(ctx context.Context) ([]*build.CacheRecord, error) {
	if _, running := b.Builder.Exists(); !running {
		return []*build.CacheRecord{}, nil
	}
	u, err := b.Builder.Use(ctx)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	list, err := u.Cache(ctx)
	if err != nil {
		return nil, err
	}
	return cacheRecords(list), nil
}

func cacheRecords(list []*control.UsageRecord) []*build.CacheRecord {
	out := []*build.CacheRecord{}
	for _, r := range list {
		c := &build.CacheRecord{
			ID: r.ID, Parents: r.Parents, Type: r.RecordType, Description: r.Description, InUse: r.InUse, Shared: r.Shared, Size: r.Size,
			UsageCount: int(r.UsageCount),
		}
		if r.CreatedAt != nil {
			c.CreatedAt = r.CreatedAt.AsTime()
		}
		if r.LastUsedAt != nil {
			at := r.LastUsedAt.AsTime()
			c.LastUsedAt = &at
		}
		if len(r.Parents) > 0 {
			c.Parent = r.Parents[0] //nolint:staticcheck // old clients read it
		}
		out = append(out, c)
	}
	return out
}
