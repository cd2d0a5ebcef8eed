package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// BuildKit is the repository of the builder's image; clients that bring a builder of
// their own ask for the tag BuildKitStable (docker/buildx, driver/bkimage).
const (
	BuildKit       = "moby/buildkit"
	BuildKitStable = "buildx-stable-1"
)

// keyTag is the annotation of a layout's manifest that names its version.
const keyTag = "org.opencontainers.image.ref.name"

// WriteBuildKit makes the image moby/buildkit from the static programs buildkitd,
// buildctl and runc in a folder, and keeps it as an OCI layout in out: compressing
// it takes seconds, which no lab should spend at its start.
func WriteBuildKit(ctx context.Context, cfg Config, programs, version, out string) error {
	b := &builder{cfg: cfg}
	var err error
	if b.bb, err = b.busybox(ctx); err != nil {
		return err
	}
	base, err := b.busyboxBase(ctx)
	if err != nil {
		return err
	}
	bin := []entry{{name: "usr/"}, {name: "usr/bin/"}}
	for _, name := range []string{"buildkitd", "buildctl", "runc"} {
		data, err := readStatic(filepath.Join(programs, name))
		if err != nil {
			return err
		}
		file := name
		if name == "runc" {
			file = "buildkit-runc" // as in moby/buildkit, where buildkitd looks first
		}
		bin = append(bin, entry{name: "usr/bin/" + file, mode: 0o755, data: data})
	}
	img, err := image(v1.Config{
		Env: []string{path}, Entrypoint: []string{"buildkitd"}, Volumes: map[string]struct{}{"/var/lib/buildkit": {}},
	}, append(base, step{"BuildKit " + version, bin})...)
	if err != nil {
		return fmt.Errorf("image %s: %w", BuildKit, err)
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	l, err := layout.Write(out, empty.Index)
	if err != nil {
		return fmt.Errorf("image %s: %w", BuildKit, err)
	}
	if err := l.AppendImage(img, layout.WithAnnotations(map[string]string{keyTag: version})); err != nil {
		return fmt.Errorf("image %s: %w", BuildKit, err)
	}
	return nil
}

// ReadBuildKit gives what WriteBuildKit kept, by the names that a registry has it
// under; nothing when the folder is not there.
func ReadBuildKit(dir string) (map[string]v1.Image, error) {
	l, err := layout.FromPath(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", BuildKit, err)
	}
	index, err := l.ImageIndex()
	if err != nil {
		return nil, fmt.Errorf("image %s in %s: %w", BuildKit, dir, err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("image %s in %s: %w", BuildKit, dir, err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Annotations[keyTag] == "" {
		return nil, fmt.Errorf("image %s in %s: want one manifest with a version: %w", BuildKit, dir, errdefs.ErrDataLoss)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		return nil, fmt.Errorf("image %s in %s: %w", BuildKit, dir, err)
	}
	return map[string]v1.Image{
		BuildKit + ":" + m.Manifests[0].Annotations[keyTag]: img,
		BuildKit + ":" + BuildKitStable:                     img,
	}, nil
}
