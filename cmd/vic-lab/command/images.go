package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"github.com/vic-engine/vic/pkg/lab/images"
)

type imagesOptions struct {
	out                     string
	builder, builderVersion string
}

func imagesCommand(t Terminal) *cobra.Command {
	o := &imagesOptions{}
	c := &cobra.Command{
		Use:   "images",
		Short: "Make the programs of the registry's images, so that `up` needs no compiler",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return runImages(c.Context(), t, o) },
	}
	c.Flags().StringVar(&o.builder, "builder", "", "folder with buildkitd, buildctl and runc: make the image moby/buildkit from them, and nothing else")
	c.Flags().StringVar(&o.builderVersion, "builder-version", "", "version of what is in --builder: the image's tag")
	c.Flags().StringVar(&o.out, "out", "", "folder for them (default: images beside this program, where `up` looks)")
	return c
}

// builderImage is the folder of the image moby/buildkit, in that of the images.
const builderImage = "buildkit"

// runImages builds all images in a folder that is thrown away, and keeps the
// programs in them.
func runImages(ctx context.Context, t Terminal, o *imagesOptions) error {
	out, err := beside(o.out, "images")
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "vic-images")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	logger := logrus.New()
	logger.SetOutput(t.Err)
	if o.builder != "" || o.builderVersion != "" {
		if o.builder == "" || o.builderVersion == "" {
			return fmt.Errorf("--builder and --builder-version go together: %w", errdefs.ErrInvalidArgument)
		}
		dst := filepath.Join(out, builderImage)
		if err := images.WriteBuildKit(ctx, images.Config{Dir: work, Log: logrus.NewEntry(logger)}, o.builder, o.builderVersion, dst); err != nil {
			return err
		}
		fmt.Fprintln(t.Out, dst)
		return nil
	}
	if _, err := images.Build(ctx, images.Config{Dir: work, Log: logrus.NewEntry(logger)}); err != nil {
		return err
	}
	made, err := filepath.Glob(filepath.Join(work, "programs", "*", "*"))
	if err != nil {
		return err
	}
	if len(made) == 0 {
		return fmt.Errorf("no programs were made: %w", errdefs.ErrInternal)
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	slices.Sort(made)
	for _, p := range made {
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		dst := filepath.Join(out, filepath.Base(p))
		if err := errors.Join(os.WriteFile(dst+"~", b, 0o755), os.Rename(dst+"~", dst)); err != nil {
			return err
		}
		fmt.Fprintln(t.Out, dst)
	}
	return nil
}
