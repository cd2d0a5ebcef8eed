package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// CreateOptions are what comes with a create request besides its body.
type CreateOptions struct {
	Name     string // empty: generated
	Platform string // "linux/amd64", or empty
	Request  *Request
}

// Create makes a container and returns its id and warnings for the user.
func (e *Engine) Create(ctx context.Context, o CreateOptions) (id string, warnings []string, err error) {
	r := o.Request
	if o.Name != "" && !namePattern.MatchString(strings.TrimPrefix(o.Name, "/")) {
		return "", nil, invalid("Invalid container name (%s), only %s are allowed", o.Name, nameChars)
	}
	if r.Config.Image == "" {
		return "", nil, invalid("no image specified")
	}
	warnings, refused := checkOptions(r.fields)
	img, ic, err := e.resolveImage(r.Config.Image, o.Platform)
	if err != nil {
		return "", nil, err
	}
	used, ok := e.uses.create(img.ID)
	if !ok { // it goes in this moment
		return "", nil, noSuchImage(familiar(r.Config.Image))
	}
	defer used()
	userVolumes := r.Config.Volumes
	if r.Config, err = merge(r.Config, ic.Config); err != nil {
		return "", nil, err
	}
	warnings = append(warnings, healthWarnings(r.Config.Healthcheck)...)
	if id, err = newID(); err != nil {
		return "", nil, err
	}
	mhz, err := e.mhzPerCPU(ctx, &r.HostConfig)
	if err != nil {
		return "", nil, err
	}
	c, w, err := build(r, buildInput{ID: id, Image: img, Networks: e.pl.Networks(), MHzPerCPU: mhz, Find: e.find, PortsInUse: e.portsInUse})
	warnings = append(warnings, w...)
	volumes, verr := e.planned(id, r, userVolumes)
	defer e.unplan(id)
	if err := errors.Join(err, verr, refused); err != nil {
		return "", nil, err
	}
	if c.Name, err = e.reserve(id, o.Name); err != nil {
		return "", nil, err
	}
	defer e.release(c.Name)
	c.Created = e.clock.Now().UTC()
	c.Annotations = map[string]string{}
	for k, v := range r.HostConfig.Annotations {
		if strings.HasPrefix(k, "docker.") {
			return "", nil, invalid("annotation %q: names that begin with docker. are the engine's own", k)
		}
		c.Annotations[k] = v
	}
	if c.Root.ImageDisk, err = e.images.Disk(ctx, img.ID); err != nil {
		return "", nil, fmt.Errorf("disk of image %s: %w", r.Config.Image, err)
	}
	anonymous, w, undo, err := e.mountVolumes(ctx, &c, volumes)
	defer func() {
		if err != nil {
			undo()
		}
	}()
	if err != nil {
		return "", nil, err
	}
	warnings = append(warnings, w...)
	if c.Annotations[AnnotationCreate], err = encodeStored(r, anonymous); err != nil {
		return "", nil, err
	}
	if err := c.Validate(); err != nil {
		return "", nil, invalid("%v", err)
	}
	if _, err := e.pl.Create(ctx, c); err != nil {
		if errdefs.IsNotFound(err) {
			// Something of vSphere is missing. As a 404 a client would take it for
			// the image, and pull.
			return "", nil, internal("%v", err)
		}
		return "", nil, err
	}
	e.log.WithFields(map[string]any{spec.FieldContainer: id, "name": c.Name}).Info("container created")
	return id, warnings, nil
}

func newID() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make a container id: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// mhzPerCPU asks the port layer only when a fraction of a CPU was asked for.
func (e *Engine) mhzPerCPU(ctx context.Context, h *HostConfig) (int64, error) {
	cpus, err := cpuCount(h)
	if err != nil || cpus == math.Floor(cpus) {
		return 0, nil // build reports the error
	}
	return e.cpuSpeed(ctx)
}

// cpuSpeed is the speed of one CPU of the VCH's pool; 0: not known.
func (e *Engine) cpuSpeed(ctx context.Context) (int64, error) {
	c, err := e.pl.Capacity(ctx)
	if err != nil {
		return 0, fmt.Errorf("speed of a CPU: %w", err)
	}
	if c.CPUs == 0 {
		return 0, nil
	}
	return c.CPUMHz / int64(c.CPUs), nil
}

// resolveImage finds the image of a create request. Its platform must be the
// one asked for.
func (e *Engine) resolveImage(ref, platform string) (spec.Image, dockerspec.DockerOCIImage, error) {
	img, err := e.findImage(ref)
	if err != nil {
		return img, dockerspec.DockerOCIImage{}, err
	}
	ic, err := imageConfig(img)
	if err != nil {
		return img, ic, err
	}
	if platform != "" && ic.OS != "" {
		want := strings.SplitN(platform, "/", 3)
		if want[0] != ic.OS || (len(want) > 1 && want[1] != ic.Architecture) {
			return img, ic, notFound("image with reference %s was found but its platform (%s/%s) does not match the specified platform (%s)", ref, ic.OS, ic.Architecture, platform)
		}
	}
	return img, ic, nil
}
