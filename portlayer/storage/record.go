package storage

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
)

// recordVersion is the version of image.json that this program writes.
const recordVersion = 1

// record is image.json: what the store knows of one image. That it is there
// says that the image is complete.
type record struct {
	Version int
	// ID is the digest of Config.
	ID digest.Digest
	// Manifest and Config are kept as blobs too; Config is here as well, byte
	// for byte, so that a start reads one file for each image.
	Manifest descriptor
	// Index is the manifest list that Manifest was chosen from, if any.
	Index      *descriptor `json:",omitempty"`
	Config     string
	ConfigType string
	Layers     []layerRecord
	Pulled     time.Time
}

// descriptor names a blob.
type descriptor struct {
	Digest    digest.Digest
	MediaType string
	Size      int64
}

// layerRecord is one layer, the lowest first.
type layerRecord struct {
	descriptor
	DiffID digest.Digest
	// Files is the bytes of the layer's files, uncompressed.
	Files int64
}

// errNewer occurs when a record was written by a later version; the image is
// then left alone.
var errNewer = fmt.Errorf("written by a newer version: %w", errdefs.ErrNotImplemented)

// parseRecord reads image.json of the image whose folder is hex.
func parseRecord(raw []byte, hex string) (*record, error) {
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
	}
	if r.Version > recordVersion {
		return nil, fmt.Errorf("version %d: %w", r.Version, errNewer)
	}
	if err := r.ID.Validate(); err != nil || r.ID.Encoded() != hex || digest.FromString(r.Config) != r.ID {
		return nil, fmt.Errorf("the configuration does not have the image's id: %w", errdefs.ErrDataLoss)
	}
	conf, err := image.ParseConfig([]byte(r.Config))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
	}
	if len(conf.RootFS.DiffIDs) != len(r.Layers) {
		return nil, fmt.Errorf("%d layers, its configuration has %d: %w", len(r.Layers), len(conf.RootFS.DiffIDs), errdefs.ErrDataLoss)
	}
	for i, l := range r.Layers {
		if l.DiffID != conf.RootFS.DiffIDs[i] {
			return nil, fmt.Errorf("layer %d is %q, its configuration has %s: %w", i, l.DiffID, conf.RootFS.DiffIDs[i], errdefs.ErrDataLoss)
		}
	}
	for _, d := range r.digests() {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("digest %q: %w", d, errdefs.ErrDataLoss)
		}
	}
	return &r, nil
}

// digests are all blobs that the image needs.
func (r *record) digests() []digest.Digest {
	out := []digest.Digest{r.ID, r.Manifest.Digest}
	if r.Index != nil {
		out = append(out, r.Index.Digest)
	}
	for _, l := range r.Layers {
		out = append(out, l.Digest)
	}
	return out
}

func (r *record) diffIDs() []digest.Digest {
	var out []digest.Digest
	for _, l := range r.Layers {
		out = append(out, l.DiffID)
	}
	return out
}

// view is the image for callers, with its names added by the store.
func (r *record) view() spec.Image {
	img := spec.Image{ID: r.ID.String(), Config: []byte(r.Config), Pulled: r.Pulled}
	// A record is only kept when its configuration parses.
	if conf, err := image.ParseConfig(img.Config); err == nil && conf.Created != nil {
		img.Created = *conf.Created
	}
	for _, l := range r.Layers {
		img.Layers = append(img.Layers, l.DiffID.String())
		img.LayerSizes = append(img.LayerSizes, l.Files)
		img.Size += l.Files
	}
	return img
}
