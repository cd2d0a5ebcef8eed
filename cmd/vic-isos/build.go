package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/vic-engine/vic/isos"
)

type buildOptions struct {
	out, kernelDeb, root, cache, compression, version string
}

func (o *buildOptions) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.out, "out", "bin", "folder for the images and their file lists")
	f.StringVar(&o.kernelDeb, "kernel-deb", "auto", "kernel package (linux-image-*-cloud-amd64_*.deb); auto: from the cache or apt-get")
	f.StringVar(&o.root, "root", "", "folder of the project's go.mod (default: found from the current folder)")
	f.StringVar(&o.cache, "cache", "", "folder of downloaded packages (default: ROOT/.cache)")
	f.StringVar(&o.version, "version", "", "version linked into the programs of the images")
	f.StringVar(&o.compression, "compression", string(isos.DefaultCompression), "of the initramfs: none, gzip, lz4 or zstd")
}

func newBuild() *cobra.Command {
	var o buildOptions
	c := &cobra.Command{
		Use:   "build [bootstrap|appliance|all]",
		Short: "Make bootstrap.iso, appliance.iso or both",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			c.SilenceUsage = true
			which := "all"
			if len(args) == 1 {
				which = args[0]
			}
			return runBuild(c.Context(), c.OutOrStdout(), c.ErrOrStderr(), which, o)
		},
	}
	o.addFlags(c)
	return c
}

// runBuild prints the path of each image that it made on out.
func runBuild(ctx context.Context, out, progress io.Writer, which string, o buildOptions) error {
	manifests := map[string][]isos.Manifest{
		"bootstrap": {isos.Bootstrap()},
		"appliance": {isos.Appliance()},
		"all":       {isos.Bootstrap(), isos.Appliance()},
	}[which]
	if manifests == nil {
		return fmt.Errorf("image %q: want bootstrap, appliance or all", which)
	}
	log := logrus.New()
	log.SetOutput(progress)
	cfg := isos.Config{
		Root: o.root, Cache: isos.Cache{Dir: o.cache}, KernelDeb: o.kernelDeb,
		Compression: isos.Compression(o.compression), Version: o.version, Log: logrus.NewEntry(log),
	}
	var err error
	if cfg.Root == "" {
		if cfg.Root, err = moduleRoot(); err != nil {
			return err
		}
	}
	if cfg.Epoch, err = sourceDateEpoch(os.Getenv("SOURCE_DATE_EPOCH")); err != nil {
		return err
	}
	b, err := isos.New(cfg)
	if err != nil {
		return err
	}
	for _, m := range manifests {
		name, err := b.Write(ctx, m, o.out)
		if err != nil {
			return err
		}
		fmt.Fprintln(out, name)
	}
	return nil
}

// sourceDateEpoch reads the reproducible-builds variable: seconds since 1970.
func sourceDateEpoch(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds since 1970", s)
	}
	return time.Unix(n, 0).UTC(), nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no go.mod in %s or above it: give --root", dir)
		}
	}
}
