package main

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// benchImage is what containers and bare VMs both run: busybox, flow, and from
// Debian's packages fio and, for the bare router, nft.
const benchImage = "bench"

// programs of Debian's packages in the image.
var programs = []struct{ pkg, path string }{{"fio", "usr/bin/fio"}, {"nftables", "usr/sbin/nft"}}

// libDir is where the loader looks for libraries without being told.
const libDir = "usr/lib/x86_64-linux-gnu"

// pushImage makes the image and puts it into the lab's registry.
func (s *setup) pushImage(ctx context.Context) error {
	files, err := s.imageFiles(ctx)
	if err != nil {
		return fmt.Errorf("image %s: %w", benchImage, err)
	}
	layer, err := imageLayer(files)
	if err != nil {
		return fmt.Errorf("image %s: %w", benchImage, err)
	}
	from, err := name.ParseReference(s.registry+"/library/busybox:latest", name.Insecure)
	if err != nil {
		return err
	}
	to, err := name.ParseReference(s.registry+"/library/"+benchImage+":latest", name.Insecure)
	if err != nil {
		return err
	}
	base, err := remote.Image(from, remote.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("image busybox of the lab: %w", err)
	}
	img, err := mutate.AppendLayers(base, layer)
	if err != nil {
		return err
	}
	return remote.Write(to, img, remote.WithContext(ctx))
}

// imageFiles are all files of the image's layer, by path.
func (s *setup) imageFiles(ctx context.Context) (map[string][]byte, error) {
	bin := filepath.Join(s.dir, "flow")
	if _, err := output(ctx, nil, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./pkg/lab/e2e/bench/flow"); err != nil {
		return nil, err
	}
	flow, err := os.ReadFile(bin)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"usr/bin/flow": flow}
	var names []string
	for _, p := range programs {
		names = append(names, p.pkg)
	}
	trees, err := s.packages(ctx, names)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		if err := addProgram(files, trees, p.path); err != nil {
			return nil, err
		}
	}
	loader, err := readOf(trees, "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
	if err != nil {
		return nil, err
	}
	files["lib64/ld-linux-x86-64.so.2"] = loader
	return files, nil
}

// packages gives the trees of Debian packages and of all libraries' packages
// that they depend on.
func (s *setup) packages(ctx context.Context, names []string) ([]fs.FS, error) {
	text, err := output(ctx, nil, "apt-cache", append([]string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances"}, names...)...)
	if err != nil {
		return nil, err
	}
	var trees []fs.FS
	for _, n := range libraryPackages(text, names) {
		t, err := s.room.cache.Package(ctx, n)
		if err != nil {
			return nil, err
		}
		trees = append(trees, t)
	}
	return trees, nil
}

// libraryPackages reads apt-cache's list: real packages begin a line, and those
// of libraries are called so.
func libraryPackages(text string, names []string) []string {
	out := slices.Clone(names)
	for _, l := range strings.Split(text, "\n") {
		if (strings.HasPrefix(l, "lib") || strings.HasPrefix(l, "zlib")) && !strings.Contains(l, ":") {
			out = append(out, strings.TrimSpace(l))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// addProgram adds a program and the libraries that it is linked with, and
// those that these are, all in one folder.
func addProgram(files map[string][]byte, trees []fs.FS, file string) error {
	data, err := readOf(trees, file)
	if err != nil {
		return err
	}
	files[file] = data
	for todo := [][]byte{data}; len(todo) > 0; todo = todo[1:] {
		needs, err := libraries(todo[0])
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, lib := range needs {
			at := path.Join(libDir, lib)
			if files[at] != nil || strings.HasPrefix(lib, "ld-linux") {
				continue
			}
			if files[at], err = readOf(trees, libDir+"/"+lib, "lib/x86_64-linux-gnu/"+lib, libDir+"/ceph/"+lib); err != nil {
				return fmt.Errorf("%s needs %s: %w", file, lib, err)
			}
			todo = append(todo, files[at])
		}
	}
	return nil
}

func libraries(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return f.ImportedLibraries()
}

// readOf reads the first of some paths that one of the trees has.
func readOf(trees []fs.FS, paths ...string) ([]byte, error) {
	for _, p := range paths {
		for _, t := range trees {
			if b, err := fs.ReadFile(t, p); err == nil {
				return b, nil
			}
		}
	}
	return nil, fmt.Errorf("no package has %s: %w", strings.Join(paths, " or "), fs.ErrNotExist)
}

// imageLayer holds files, which all may be run, and the folders that a bare VM
// mounts on.
func imageLayer(files map[string][]byte) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, d := range []string{"dev/", "proc/", "sys/", "tmp/", "data/", "usr/", "usr/bin/", "usr/sbin/", "usr/lib/", libDir + "/", "lib64/"} {
		if err := w.WriteHeader(&tar.Header{Name: d, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	var names []string
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := w.WriteHeader(&tar.Header{Name: n, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(files[n]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[n]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
}
