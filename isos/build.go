package isos

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"time"

	"github.com/sirupsen/logrus"
)

// DefaultCompression is what starts fastest. Measured in CPU seconds of QEMU
// (TCG) from power-on to /init, medians: bootstrap.iso none 3.1, gzip 2.85,
// lz4 2.78, zstd 2.79; appliance.iso gzip 5.0, lz4 4.45, zstd 4.27. A BIOS reads
// a CD word by word, about 70 ms for each MiB, so the smallest wins as long as it
// unpacks quickly.
const DefaultCompression = Zstd

// MaxBootstrapBytes is the largest bootstrap.iso that may be made.
const MaxBootstrapBytes = 24 << 20

// Config of a Builder.
type Config struct {
	// Root is the folder of go.mod, from which our programs are built.
	Root string
	// Cache of Debian packages; its Dir defaults to Root/.cache.
	Cache Cache
	// KernelDeb is a kernel package file; empty or "auto" takes the cached one
	// or downloads it.
	KernelDeb string
	// Epoch is the time of everything in an image; zero is 2020-01-01 UTC.
	Epoch time.Time
	// Compression defaults to DefaultCompression.
	Compression Compression
	// Version is linked into our programs; empty leaves pkg/version's own.
	Version string
	Log     *logrus.Entry
}

// Builder makes images.
type Builder struct{ cfg Config }

// New checks cfg; it starts nothing.
func New(cfg Config) (*Builder, error) {
	if cfg.Root == "" || cfg.Log == nil {
		return nil, fmt.Errorf("isos: Root and Log are required")
	}
	if cfg.Cache.Dir == "" {
		cfg.Cache.Dir = filepath.Join(cfg.Root, ".cache")
	}
	if cfg.Cache.Log == nil {
		cfg.Cache.Log = cfg.Log
	}
	if cfg.Epoch.IsZero() {
		cfg.Epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if cfg.Compression == "" {
		cfg.Compression = DefaultCompression
	}
	return &Builder{cfg: cfg}, nil
}

// Build gathers a manifest's inputs and makes the image's bytes; list is its
// file list (see List).
func (b *Builder) Build(ctx context.Context, m Manifest) (iso []byte, list string, err error) {
	src, err := b.sources(ctx, m)
	if err != nil {
		return nil, "", fmt.Errorf("%s.iso: %w", m.Name, err)
	}
	entries, err := Files(m, src)
	if err != nil {
		return nil, "", err
	}
	initrd, err := Initramfs(entries, b.cfg.Epoch, b.cfg.Compression)
	if err != nil {
		return nil, "", fmt.Errorf("%s.iso: %w", m.Name, err)
	}
	iso, err = assemble(m, src, entries, initrd, b.cfg.Epoch)
	if err != nil {
		return nil, "", fmt.Errorf("%s.iso: %w", m.Name, err)
	}
	if m.Name == "bootstrap" && len(iso) > MaxBootstrapBytes {
		return nil, "", fmt.Errorf("bootstrap.iso: %d bytes, more than the %d allowed", len(iso), MaxBootstrapBytes)
	}
	return iso, List(entries), nil
}

// Write builds an image into dir, replacing an older one at once.
func (b *Builder) Write(ctx context.Context, m Manifest, dir string) (string, error) {
	iso, list, err := b.Build(ctx, m)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(dir, m.Name+".iso")
	for _, f := range []struct {
		name string
		data []byte
	}{{name, iso}, {filepath.Join(dir, m.Name+".list"), []byte(list)}} {
		if err := os.WriteFile(f.name+".new", f.data, 0o644); err != nil {
			return "", err
		}
		if err := os.Rename(f.name+".new", f.name); err != nil {
			return "", err
		}
	}
	b.cfg.Log.WithField("path", name).Infof("%.1f MiB", float64(len(iso))/(1<<20))
	return name, nil
}

func (b *Builder) sources(ctx context.Context, m Manifest) (Sources, error) {
	src := Sources{Packages: map[string]fs.FS{}, Programs: map[string][]byte{}}
	var err error
	if src.Kernel, err = b.cfg.Cache.Kernel(ctx, b.cfg.KernelDeb); err != nil {
		return src, err
	}
	for _, p := range append(bootPackages(), m.Packages...) {
		if src.Packages[p], err = b.cfg.Cache.Package(ctx, p); err != nil {
			return src, err
		}
	}
	for _, f := range m.Files {
		if f.Program == "" {
			continue
		}
		if src.Programs[f.Program], err = b.program(ctx, f.Program); err != nil {
			return src, err
		}
	}
	return src, nil
}

// program builds one of ours: static, and the same wherever it is built.
func (b *Builder) program(ctx context.Context, pkg string) ([]byte, error) {
	if _, err := os.Stat(filepath.Join(b.cfg.Root, pkg)); err != nil {
		return nil, fmt.Errorf("program %s: %w", pkg, err)
	}
	dir, err := os.MkdirTemp("", "vic-isos-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "program")
	flags := "-s -w -buildid="
	if b.cfg.Version != "" {
		flags += " -X github.com/vic-engine/vic/pkg/version.Version=" + b.cfg.Version
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags="+flags, "-o", out, "./"+pkg)
	cmd.Dir = b.cfg.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS=")
	if msg, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build %s: %w\n%s", pkg, err, bytes.TrimSpace(msg))
	}
	return os.ReadFile(out)
}

// assemble puts kernel, initramfs, boot loader and the disc's own entries on a disc.
func assemble(m Manifest, src Sources, entries []Entry, initrd []byte, epoch time.Time) ([]byte, error) {
	kernels, err := fs.Glob(src.Kernel, "boot/vmlinuz-*")
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("kernel package: %d files boot/vmlinuz-*, want 1 (%v)", len(kernels), err)
	}
	files := []ISOFile{
		{Name: "INITRD", Data: initrd},
		{Name: "ISOLINUX.CFG", Data: []byte(isolinuxConfig(m.Cmdline))},
	}
	for _, e := range entries {
		if e.Disc {
			files = append(files, ISOFile{Name: e.Path, Data: e.Data})
		}
	}
	for _, f := range []struct {
		name, path string
		tree       fs.FS
	}{
		{"VMLINUZ", kernels[0], src.Kernel},
		{"ISOLINUX.BIN", "usr/lib/ISOLINUX/isolinux.bin", src.Packages["isolinux"]},
		{"LDLINUX.C32", "usr/lib/syslinux/modules/bios/ldlinux.c32", src.Packages["syslinux-common"]},
	} {
		b, err := fs.ReadFile(f.tree, f.path)
		if err != nil {
			return nil, fmt.Errorf("boot file %s: %w", f.name, err)
		}
		files = append(files, ISOFile{Name: f.name, Data: b})
	}
	sort.Slice(files, func(i, j int) bool { return files[i].Name < files[j].Name })
	return ISO{Volume: m.Volume, Epoch: epoch, Boot: "ISOLINUX.BIN", Files: files}.Bytes()
}

// isolinuxConfig boots at once: no prompt, no wait, no look at the keyboard,
// and nothing on a serial port.
func isolinuxConfig(cmdline string) string {
	return "default vic\nprompt 0\ntimeout 0\nnoescape 1\nlabel vic\n  kernel vmlinuz\n  initrd initrd\n  append " + cmdline + "\n"
}
