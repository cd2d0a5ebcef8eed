package image

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/containerd/errdefs"
	spec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/opencontainers/go-digest"
)

// Config is an image configuration, OCI's with Docker's additions.
type Config = spec.DockerOCIImage

// maxObjects is how many JSON objects a configuration may have. An entry of its
// history takes three bytes there and a hundred here, at every reading.
const maxObjects = 50_000

// ParseConfig reads an image configuration and checks what every user of it
// relies on. One that is damaged is ErrInvalidArgument.
func ParseConfig(raw []byte) (Config, error) {
	var c Config
	if n := bytes.Count(raw, []byte("{")); n > maxObjects {
		return Config{}, fmt.Errorf("image configuration: more than %d objects: %w", maxObjects, errdefs.ErrInvalidArgument)
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return Config{}, fmt.Errorf("image configuration: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if c.RootFS.Type != "layers" {
		return Config{}, fmt.Errorf("image configuration: root filesystem of type %q: %w", c.RootFS.Type, errdefs.ErrInvalidArgument)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return Config{}, fmt.Errorf("image configuration: diff id %q: %w", d, errdefs.ErrInvalidArgument)
		}
	}
	return c, nil
}

// ChainIDs gives the chain id of each layer: the name of the layer together
// with all below it, as Docker shows it when an image is deleted.
func ChainIDs(diffIDs []digest.Digest) []digest.Digest {
	var out []digest.Digest
	for i, d := range diffIDs {
		if i > 0 {
			d = digest.FromString(out[i-1].String() + " " + d.String())
		}
		out = append(out, d)
	}
	return out
}
