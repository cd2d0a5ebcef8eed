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
// it takes seconds, which no lab should spend at its start. A folder git among them,
// which may be missing, is a tree with git and what that needs: BuildKit has it fetch
// contexts from repositories.
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
	steps := append(base, step{"BuildKit " + version, bin})
	git, err := tree(filepath.Join(programs, "git"))
	if err != nil {
		return err
	}
	if len(git) > 0 {
		steps = append(steps, step{"git", git})
	}
	img, err := image(v1.Config{
		Env: []string{path}, Entrypoint: []string{"buildkitd"}, Volumes: map[string]struct{}{"/var/lib/buildkit": {}},
	}, steps...)
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

// tree gives the folders and plain files below a folder; nothing when it is not there.
func tree(dir string) ([]entry, error) {
	var out []entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			out = append(out, entry{name: filepath.ToSlash(name) + "/"})
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no plain file: %w", path, errdefs.ErrInvalidArgument)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		out = append(out, entry{name: filepath.ToSlash(name), mode: int64(info.Mode().Perm()), data: data})
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return out, err
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
