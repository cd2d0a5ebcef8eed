package isos

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"

	"github.com/sirupsen/logrus"
)

// kernelMeta is the Debian package that depends on the current cloud kernel.
const kernelMeta = "linux-image-cloud-amd64"

// bootPackages hold the boot loader.
func bootPackages() []string { return []string{"isolinux", "syslinux-common"} }

// Cache keeps Debian packages as downloaded (Dir/debs) and unpacked
// (Dir/trees, by the SHA-256 of the package).
type Cache struct {
	Dir string
	Log *logrus.Entry
}

// Kernel gives the tree of the kernel package deb, or, when deb is empty or
// "auto", of the one in the cache, which apt-get fills when there is none.
func (c Cache) Kernel(ctx context.Context, deb string) (fs.FS, error) {
	if deb != "" && deb != "auto" {
		return c.tree(deb)
	}
	found, err := c.find("linux-image-*-cloud-amd64_")
	if err != nil {
		return nil, err
	}
	if found == "" {
		name, err := kernelPackage(ctx)
		if err != nil {
			return nil, err
		}
		if found, err = c.download(ctx, name); err != nil {
			return nil, err
		}
	}
	return c.tree(found)
}

// Package gives the tree of a Debian package, downloaded when it is not cached.
func (c Cache) Package(ctx context.Context, name string) (fs.FS, error) {
	found, err := c.find(name + "_")
	if err != nil {
		return nil, err
	}
	if found == "" {
		if found, err = c.download(ctx, name); err != nil {
			return nil, err
		}
	}
	return c.tree(found)
}

// find gives the cached package that begins with prefix: the last by name when
// several versions are there, so the choice does not depend on file times.
func (c Cache) find(prefix string) (string, error) {
	found, err := filepath.Glob(filepath.Join(c.Dir, "debs", prefix+"*.deb"))
	if err != nil || len(found) == 0 {
		return "", err
	}
	sort.Strings(found)
	return found[len(found)-1], nil
}

// download fetches a package with apt-get, which checks its signature chain.
func (c Cache) download(ctx context.Context, name string) (string, error) {
	dir := filepath.Join(c.Dir, "debs")
	tmp := filepath.Join(c.Dir, "download")
	for _, d := range []string{dir, tmp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	c.Log.WithField("package", name).Info("downloading")
	cmd := exec.CommandContext(ctx, "apt-get", "download", name)
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("download package %s: %w: %s\n(run apt-get update, or put the .deb into %s)", name, err, bytes.TrimSpace(out), dir)
	}
	got, err := filepath.Glob(filepath.Join(tmp, name+"_*.deb"))
	if err != nil || len(got) != 1 {
		return "", fmt.Errorf("download package %s: apt-get left %d files in %s", name, len(got), tmp)
	}
	to := filepath.Join(dir, filepath.Base(got[0]))
	return to, os.Rename(got[0], to)
}

// kernelPackage asks apt for the package that the meta package stands for.
func kernelPackage(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "depends", kernelMeta).Output()
	if err != nil {
		return "", fmt.Errorf("look up %s: %w (run apt-get update, or give --kernel-deb FILE)", kernelMeta, err)
	}
	for _, l := range strings.Split(string(out), "\n") {
		if name, ok := strings.CutPrefix(strings.TrimSpace(l), "Depends: linux-image-"); ok {
			return "linux-image-" + name, nil
		}
	}
	return "", fmt.Errorf("look up %s: apt-cache names no kernel image (give --kernel-deb FILE)", kernelMeta)
}

// tree unpacks a package once; the folder appears whole or not at all.
func (c Cache) tree(deb string) (fs.FS, error) {
	sum, err := hashFile(deb)
	if err != nil {
		return nil, fmt.Errorf("package %s: %w", deb, err)
	}
	dir := filepath.Join(c.Dir, "trees", sum[:32])
	if _, err := os.Stat(dir); err == nil {
		return os.DirFS(dir), nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "unpack-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	c.Log.WithField("package", filepath.Base(deb)).Info("unpacking")
	if err := extract(deb, tmp); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); err != nil && !os.IsExist(err) {
		if _, there := os.Stat(dir); there != nil {
			return nil, err
		}
	}
	return os.DirFS(dir), nil
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
