package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Files of a volume's folder beside its disk.
const (
	metaName = "volume.json"
	// markName names a create under way: a folder that has it and no metaName is
	// not finished.
	markName = "creating.json"
)

const (
	volumeVersion   = 1
	maxVolumeRecord = 1 << 20
	// foreignCreate is how long the create of another VCH may take.
	foreignCreate = time.Hour
)

// volumeRecord is volume.json: all that is kept of a volume but its data. That
// it is there says that the volume is complete.
type volumeRecord struct {
	Version  int
	Name     string
	Driver   string
	Created  time.Time
	FSType   string // nfs: a folder of a share
	Capacity int64  `json:",omitempty"` // bytes; none on a share
	Format   string `json:",omitempty"`
	Access   string
	// AttachAs is the disk mode of a container that writes.
	AttachAs  string            `json:",omitempty"`
	Policy    string            `json:",omitempty"` // name of a storage policy
	PolicyID  string            `json:",omitempty"`
	Labels    map[string]string `json:",omitempty"`
	Options   map[string]string `json:",omitempty"` // as the user gave them
	Anonymous bool              `json:",omitempty"`
}

// parseVolume reads volume.json of the folder name.
func parseVolume(raw []byte, name string) (*volumeRecord, error) {
	var r volumeRecord
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
	}
	if r.Version > volumeVersion {
		return nil, fmt.Errorf("version %d: %w", r.Version, errNewer)
	}
	if r.Name != name || !validVolumeName(name) || r.FSType != fsNFS && r.Capacity <= 0 || r.FSType == "" {
		return nil, fmt.Errorf("it is not of volume %s: %w", name, errdefs.ErrDataLoss)
	}
	if r.Access != accessReadOnly {
		r.Access = accessReadWrite
	}
	if r.AttachAs != attachDependent {
		r.AttachAs = attachIndependent
	}
	return &r, nil
}

// view is the volume for callers; its maps are never changed.
func (r *volumeRecord) view(s *volumeStore) spec.Volume {
	out := spec.Volume{
		Name: r.Name, Driver: r.Driver, Store: s.label, Source: s.source(r.Name), Type: spec.MountVolume, FSType: r.FSType,
		Capacity: r.Capacity, Access: r.Access, DiskMode: r.AttachAs, Created: r.Created,
		Policy: r.Policy, PolicyID: r.PolicyID, Labels: r.Labels, Options: r.Options, Anonymous: r.Anonymous,
	}
	if s.share != nil {
		out.Type, out.FSType, out.DiskMode, out.Capacity = spec.MountNFS, "", "", 0
		out.Share, out.MountOptions = s.share.Place(), s.share.Options()
	}
	return out
}

// save writes volume.json, whole or not at all.
func (r *volumeRecord) save(ctx context.Context, s *volumeStore, ds Datastore) error {
	r.Version = volumeVersion
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", metaName, err)
	}
	tmp := s.meta(r.Name) + ".new"
	if err := ds.Put(ctx, tmp, bytes.NewReader(raw), int64(len(raw))); err != nil {
		return fmt.Errorf("write %s: %w", s.meta(r.Name), err)
	}
	if err := ds.Move(ctx, tmp, s.meta(r.Name)); err != nil {
		return fmt.Errorf("write %s: %w", s.meta(r.Name), err)
	}
	return nil
}

// createMark is creating.json.
type createMark struct {
	VCH   string
	Begun time.Time
}

func (v *Volumes) putMark(ctx context.Context, s *volumeStore, ds Datastore, name string) error {
	raw, err := json.Marshal(createMark{VCH: v.cfg.VCH, Begun: v.cfg.Now().UTC()})
	if err != nil {
		return fmt.Errorf("encode %s: %w", markName, err)
	}
	return ds.Put(ctx, s.mark(name), bytes.NewReader(raw), int64(len(raw)))
}

// readMark gives the mark; one that was cut off is as old as can be and ours.
func (v *Volumes) readMark(ctx context.Context, s *volumeStore, ds Datastore, name string) (createMark, error) {
	raw, err := getSmall(ctx, ds, s.mark(name), maxVolumeRecord)
	if err != nil {
		return createMark{}, err
	}
	var m createMark
	if err := json.Unmarshal(raw, &m); err != nil {
		return createMark{VCH: v.cfg.VCH}, nil
	}
	return m, nil
}
