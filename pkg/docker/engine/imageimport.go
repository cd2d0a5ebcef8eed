package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/archive"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImportOptions of making an image of a file system's tar.
type ImportOptions struct {
	// Repo and Tag name the image; without Repo it has no name.
	Repo, Tag string
	// Message is the comment of its history.
	Message string
	// Changes are Dockerfile instructions for its configuration.
	Changes []string
	// Platform that the image says it is for; empty is linux/amd64.
	Platform string
}

// importedConfig is the configuration as Docker writes it.
type importedConfig struct {
	Architecture  string                          `json:"architecture"`
	Variant       string                          `json:"variant,omitempty"`
	Comment       string                          `json:"comment,omitempty"`
	Config        dockerspec.DockerOCIImageConfig `json:"config"`
	Created       time.Time                       `json:"created"`
	DockerVersion string                          `json:"docker_version,omitempty"`
	History       []ocispec.History               `json:"history"`
	OS            string                          `json:"os"`
}

// ImageImport makes an image of one layer of a tar, packed with gzip, bzip2,
// zstd or not, and gives its id.
func (e *Engine) ImageImport(ctx context.Context, r io.Reader, o ImportOptions) (string, error) {
	m, err := e.imageMaker()
	if err != nil {
		return "", err
	}
	platform, err := image.ParsePlatform(o.Platform)
	if err != nil {
		return "", invalid("%v", err)
	}
	if platform.OS != "linux" {
		return "", invalid("operating system %q is not supported: containers are Linux", platform.OS)
	}
	now := e.clock.Now().UTC()
	conf := importedConfig{
		Architecture: platform.Architecture, Variant: platform.Variant, OS: platform.OS, Comment: o.Message, Created: now,
		History: []ocispec.History{{Created: &now, Comment: o.Message}},
	}
	if err := ApplyChanges(&conf.Config, o.Changes); err != nil {
		return "", err
	}
	src := spec.ImageSource{Layers: []spec.ImageLayer{{Open: func(context.Context) (io.ReadCloser, error) { return archive.Unpack(r) }}}}
	var named reference.Named
	if o.Repo != "" {
		if named, err = parseTarget(o.Repo, o.Tag); err != nil {
			return "", err
		}
		src.Names = []string{named.String()}
	}
	if src.Config, err = json.Marshal(conf); err != nil {
		return "", fmt.Errorf("encode image configuration: %w", err)
	}
	img, err := m.Put(ctx, src)
	if err != nil {
		return "", err
	}
	if named != nil {
		e.imageEvent("tag", img.ID, reference.FamiliarString(named))
	}
	e.imageEvent("import", img.ID, img.ID)
	return img.ID, nil
}

// ImportSource is an import's source as its message tells it: "-" is the
// request's body, an address without a scheme is an http:// one.
func ImportSource(src string) string {
	if src == "-" || strings.Contains(src, "://") {
		return src
	}
	return "http://" + src
}
