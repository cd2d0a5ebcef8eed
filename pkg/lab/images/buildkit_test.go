package images

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
)

func TestBuildKit(t *testing.T) {
	dir, programs := t.TempDir(), t.TempDir()
	cfg := Config{Dir: dir, Log: quiet()}
	if err := WriteBuildKit(t.Context(), cfg, programs, "v1", filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without programs: %v", err)
	}
	bin, err := (&builder{cfg: cfg}).busybox(t.Context()) // a static program
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"buildkitd", "buildctl", "runc"} {
		if err := os.WriteFile(filepath.Join(programs, name), bin, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	git := filepath.Join(programs, "git", "usr", "bin")
	if err := errors.Join(os.MkdirAll(git, 0o755), os.WriteFile(filepath.Join(git, "git"), []byte("git"), 0o755)); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "buildkit")
	if got, err := ReadBuildKit(out); len(got) != 0 || err != nil {
		t.Errorf("before it is made: %v %v", got, err)
	}
	if err := WriteBuildKit(t.Context(), cfg, programs, "v1", out); err != nil {
		t.Fatal(err)
	}
	got, err := ReadBuildKit(out)
	if err != nil || len(got) != 2 || got["moby/buildkit:v1"] == nil || got["moby/buildkit:buildx-stable-1"] == nil {
		t.Fatalf("%v %v", got, err)
	}
	c, err := got["moby/buildkit:v1"].ConfigFile()
	if err != nil || !slices.Equal(c.Config.Entrypoint, []string{"buildkitd"}) || len(c.RootFS.DiffIDs) != 4 {
		t.Errorf("%+v %v", c, err)
	}
	files, err := tree(filepath.Join(programs, "git"))
	if err != nil || len(files) != 3 || files[1].name != "usr/bin/" || files[2].name != "usr/bin/git" || files[2].mode != 0o755 || string(files[2].data) != "git" {
		t.Errorf("git's files %+v %v", files, err)
	}
	if err := os.Symlink("git", filepath.Join(git, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := tree(filepath.Join(programs, "git")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a link: %v", err)
	}
	index := filepath.Join(out, "index.json")
	if err := os.WriteFile(index, []byte(`{"schemaVersion":2,"manifests":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadBuildKit(out); !errdefs.IsDataLoss(err) {
		t.Errorf("without a manifest: %v", err)
	}
}
