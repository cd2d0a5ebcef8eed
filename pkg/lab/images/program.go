package images

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
)

// sources of the programs, so that a lab can compile them far from this module.
//
//go:embed hello/main.go web/main.go reaper/main.go
var sources embed.FS

// program gives the bytes of a static program: from cfg.Programs if it is there,
// else compiled from its source, once for each source and compiler.
func (b *builder) program(ctx context.Context, name string) ([]byte, error) {
	if b.cfg.Programs != "" {
		bin, err := readStatic(filepath.Join(b.cfg.Programs, name))
		if !errors.Is(err, fs.ErrNotExist) {
			return bin, err
		}
	}
	src, err := sources.ReadFile(name + "/main.go")
	if err != nil {
		return nil, fmt.Errorf("program %s: %w", name, err)
	}
	version, err := exec.CommandContext(ctx, b.goTool(), "env", "GOVERSION").Output()
	if err != nil {
		return nil, fmt.Errorf("program %s is not in %q and the go command, which could compile it, fails: %w", name, b.cfg.Programs, err)
	}
	sum := sha256.Sum256(append(version, src...))
	cached := filepath.Join(b.cfg.Dir, "programs", hex.EncodeToString(sum[:8]), name)
	if bin, err := readStatic(cached); err == nil {
		return bin, nil
	}
	if err := b.compile(ctx, name, src, cached); err != nil {
		return nil, fmt.Errorf("program %s: %w", name, err)
	}
	return readStatic(cached)
}

func (b *builder) goTool() string {
	if b.cfg.Go != "" {
		return b.cfg.Go
	}
	return "go"
}

// compile makes the same bytes on any computer: no paths, no build id, no version
// control stamp.
func (b *builder) compile(ctx context.Context, name string, src []byte, out string) error {
	dir, err := os.MkdirTemp("", "vic-"+name)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "main.go"), src, 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module "+name+"\n\ngo 1.21\n"), 0o600); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, b.goTool(), "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", tmp, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=", "GOWORK=off", "GO111MODULE=on", "GOTOOLCHAIN=local")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile: %w: %s", err, strings.TrimSpace(string(text)))
	}
	bin, err := os.ReadFile(tmp)
	if err != nil {
		return err
	}
	if err := os.WriteFile(out+"~", bin, 0o755); err != nil {
		return err
	}
	return os.Rename(out+"~", out)
}

// runnable is a path under which this computer can run busybox.
func (b *builder) runnable() (string, error) {
	sum := sha256.Sum256(b.bb)
	out := filepath.Join(b.cfg.Dir, "programs", hex.EncodeToString(sum[:8]), "busybox")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", fmt.Errorf("busybox: %w", err)
	}
	if err := os.WriteFile(out+"~", b.bb, 0o755); err != nil {
		return "", fmt.Errorf("busybox: %w", err)
	}
	if err := os.Rename(out+"~", out); err != nil {
		return "", fmt.Errorf("busybox: %w", err)
	}
	return out, nil
}

// readStatic reads an x86-64 program that needs no loader.
func readStatic(path string) ([]byte, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return nil, fmt.Errorf("program %s is for %s: %w", path, f.Machine, errdefs.ErrInvalidArgument)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, fmt.Errorf("program %s is not static: %w", path, errdefs.ErrInvalidArgument)
		}
	}
	return os.ReadFile(path)
}

// busybox gives Debian's static busybox: the installed one, else the package is
// downloaded with apt-get, which needs no root.
func (b *builder) busybox(ctx context.Context) ([]byte, error) {
	cached := filepath.Join(b.cfg.Dir, "busybox-static", "bin", "busybox")
	for _, path := range []string{filepath.Join(b.cfg.Programs, "busybox"), "/bin/busybox", cached} {
		if bin, err := readStatic(path); err == nil {
			return bin, nil
		}
	}
	dir, err := os.MkdirTemp("", "vic-busybox")
	if err != nil {
		return nil, fmt.Errorf("busybox: %w", err)
	}
	defer os.RemoveAll(dir)
	run := func(name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("busybox: %s: %w: %s; install Debian's busybox-static", name, err, strings.TrimSpace(string(text)))
		}
		return nil
	}
	if err := run("apt-get", "download", "busybox-static"); err != nil {
		return nil, err
	}
	debs, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(debs) != 1 {
		return nil, fmt.Errorf("busybox: apt-get downloaded %d packages: %w", len(debs), errdefs.ErrNotFound)
	}
	if err := run("dpkg-deb", "-x", debs[0], filepath.Join(b.cfg.Dir, "busybox-static")); err != nil {
		return nil, err
	}
	return readStatic(cached)
}
