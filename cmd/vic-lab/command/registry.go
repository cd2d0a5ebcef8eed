package command

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/lab/images"
	"github.com/vic-engine/vic/pkg/lab/registry"
	"github.com/vic-engine/vic/pkg/lab/vnet"
)

// runRegistry serves the lab's images and gives the mirror's URL, as guests
// reach it.
func runRegistry(ctx context.Context, g *errgroup.Group, o *upOptions, ln net.Listener, log *logrus.Entry) (string, error) {
	r, err := registry.New(registry.Config{Listener: ln, Dir: filepath.Join(o.dir, "registry"), Damage: []string{"library/damaged"}, Private: []string{"private/"}, Log: log})
	if err != nil {
		return "", err
	}
	imgs, err := images.Build(ctx, images.Config{Dir: filepath.Join(o.dir, "registry"), Programs: ifThere(o.images), Log: log})
	if err != nil {
		return "", fmt.Errorf("images of the lab's registry (--no-registry does without): %w", err)
	}
	builder, err := images.ReadBuildKit(filepath.Join(o.images, builderImage))
	if err != nil {
		return "", err
	}
	maps.Copy(imgs, builder)
	if err := r.Load(ctx, imgs); err != nil {
		return "", err
	}
	g.Go(func() error { return r.Run(ctx) })
	_, port, err := net.SplitHostPort(r.Addr().String())
	if err != nil {
		return "", err
	}
	return "http://registry." + vnet.Domain + ":" + port, nil
}
