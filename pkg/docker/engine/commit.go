package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CommitOptions of Commit.
type CommitOptions struct {
	// Name of the image, nil: none.
	Name            reference.NamedTagged
	Author, Comment string
	// Changes are Dockerfile instructions for the configuration.
	Changes []string
	// Config is the configuration in place of the container's, which fills it up;
	// nil: the container's.
	Config *ContainerConfig
	// Pause lets a running container stand still while its files are read.
	Pause bool
}

// committed is the configuration of an image as Docker 28 writes it; what the
// parent's has besides stays.
type committed struct {
	Architecture    string            `json:"architecture"`
	Variant         string            `json:"variant,omitempty"`
	OS              string            `json:"os"`
	OSVersion       string            `json:"os.version,omitempty"`
	OSFeatures      []string          `json:"os.features,omitempty"`
	Author          string            `json:"author,omitempty"`
	Comment         string            `json:"comment,omitempty"`
	Container       string            `json:"container,omitempty"`
	ContainerConfig ContainerConfig   `json:"container_config"`
	Config          ContainerConfig   `json:"config"`
	Created         time.Time         `json:"created"`
	History         []ocispec.History `json:"history"`
}

// Commit makes an image of what a container has changed on its own, and gives its
// id.
func (e *Engine) Commit(ctx context.Context, ref string, o CommitOptions) (string, error) {
	m, err := e.imageMaker()
	if err != nil {
		return "", err
	}
	v, f, err := e.findFiles(ref)
	if err != nil {
		return "", err
	}
	switch v.Status.Phase {
	case spec.PhaseDead:
		return "", conflict("You cannot commit container %s which is Dead", v.Container.ID)
	case spec.PhaseRemoving:
		return "", conflict("You cannot commit container %s which is being removed", v.Container.ID)
	}
	own := e.storedOf(v).Config
	own.Labels = v.Container.Labels
	conf, err := commitConfig(own, o)
	if err != nil {
		return "", err
	}
	parent, err := e.findImage(v.Container.ImageID)
	if err != nil {
		return "", fmt.Errorf("image of container %s: %w", ref, err)
	}
	resume, err := e.standStill(ctx, v, o.Pause)
	if err != nil {
		return "", err
	}
	defer resume()
	layer := openLayer(ctx, f, v.Container.ID, resume)
	defer layer.Close() // only read
	empty, err := layer.empty()
	if err != nil {
		return "", err
	}
	src := spec.ImageSource{Parent: parent.ID}
	if !empty {
		src.Layers = []spec.ImageLayer{{Open: func(context.Context) (io.ReadCloser, error) { return layer, nil }}}
	}
	if src.Config, err = e.childConfig(parent, v, own, conf, o, empty); err != nil {
		return "", err
	}
	name := ""
	if o.Name != nil {
		name, src.Names = reference.FamiliarString(o.Name), []string{o.Name.String()}
	}
	img, err := m.Put(ctx, src)
	if err != nil {
		return "", err
	}
	e.imageEvent("create", img.ID, img.ID)
	if name != "" {
		e.imageEvent("tag", img.ID, name)
	}
	e.containerEvent(v, "commit", map[string]string{"comment": o.Comment, "imageID": img.ID, "imageRef": name})
	return img.ID, nil
}

// commitConfig is what the image says of its containers: the configuration given,
// changed, and filled up from the container's.
func commitConfig(own ContainerConfig, o CommitOptions) (ContainerConfig, error) {
	c := own
	if o.Config != nil {
		c = *o.Config
	}
	changed := imagePart(c)
	if err := ApplyChanges(&changed, o.Changes); err != nil {
		return c, err
	}
	c.User, c.ExposedPorts, c.Env, c.Entrypoint, c.Cmd = changed.User, changed.ExposedPorts, changed.Env, changed.Entrypoint, changed.Cmd
	c.Volumes, c.WorkingDir, c.Labels, c.StopSignal = changed.Volumes, changed.WorkingDir, changed.Labels, changed.StopSignal
	c.Healthcheck, c.OnBuild, c.Shell = changed.Healthcheck, changed.OnBuild, changed.Shell
	return merge(c, imagePart(own))
}

// imagePart is what of a container's configuration an image can have.
func imagePart(c ContainerConfig) dockerspec.DockerOCIImageConfig {
	return dockerspec.DockerOCIImageConfig{
		ImageConfig: ocispec.ImageConfig{
			User: c.User, ExposedPorts: c.ExposedPorts, Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd, Volumes: c.Volumes,
			WorkingDir: c.WorkingDir, Labels: c.Labels, StopSignal: c.StopSignal,
		},
		DockerOCIImageConfigExt: dockerspec.DockerOCIImageConfigExt{Healthcheck: c.Healthcheck, OnBuild: c.OnBuild, Shell: c.Shell},
	}
}

// childConfig is the configuration of an image on top of parent.
func (e *Engine) childConfig(parent spec.Image, v spec.View, own, conf ContainerConfig, o CommitOptions, empty bool) ([]byte, error) {
	below, err := imageConfig(parent)
	if err != nil {
		return nil, err
	}
	now := e.clock.Now().UTC()
	c := committed{
		Architecture: below.Architecture, Variant: below.Variant, OS: below.OS, OSVersion: below.OSVersion, OSFeatures: below.OSFeatures,
		Author: o.Author, Comment: o.Comment, Container: v.Container.ID, ContainerConfig: own, Config: conf, Created: now,
		History: append(append([]ocispec.History(nil), below.History...), ocispec.History{
			Created: &now, CreatedBy: strings.Join(own.Cmd, " "), Author: o.Author, Comment: o.Comment, EmptyLayer: empty,
		}),
	}
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode image configuration: %w", err)
	}
	return b, nil
}

// pauser is a port layer that can let a container stand still.
type pauser interface {
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
}

// standStill pauses a container that runs, until resume is called, which may be
// more than once.
func (e *Engine) standStill(ctx context.Context, v spec.View, pause bool) (resume func(), err error) {
	p, ok := e.pl.(pauser)
	if !pause || !ok || !isRunning(v) || isPaused(v) {
		return func() {}, nil
	}
	id := v.Container.ID
	if err := p.Pause(ctx, id); errdefs.IsConflict(err) {
		return func() {}, nil // it stands still already, or has ended
	} else if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		ctx, cancel := e.detach(ctx)
		defer cancel()
		if err := p.Unpause(ctx, id); err != nil {
			e.log.WithField(spec.FieldContainer, id).WithError(err).Error("container stays paused after a commit")
		}
	}), nil
}

// layerReader is the tar of what a container has changed, as it comes.
type layerReader struct {
	*bufio.Reader
	pipe *io.PipeReader
	done chan struct{}
}

// openLayer begins to read it. read is called when all was read, or nobody reads
// any more.
func openLayer(ctx context.Context, f Files, id string, read func()) *layerReader {
	r, w := io.Pipe()
	l := &layerReader{Reader: bufio.NewReaderSize(r, 64<<10), pipe: r, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		err := f.Layer(ctx, id, w)
		read()
		_ = w.CloseWithError(err) // nil is the end
	}()
	return l
}

// Close ends the reading.
func (l *layerReader) Close() error {
	err := l.pipe.Close()
	<-l.done
	return err
}

// tarEnd is how a tar ends: two blocks of zeros.
const tarEnd = 1024

// empty tells whether there is no file in it: then the image gets no layer.
func (l *layerReader) empty() (bool, error) {
	head, err := l.Peek(tarEnd + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return errors.Is(err, io.EOF) && len(bytes.Trim(head, "\x00")) == 0, nil
}

// ParseConfig reads a container's configuration in Docker's JSON; nil for null.
// Wrong JSON is ErrInvalidArgument.
func ParseConfig(body []byte) (*ContainerConfig, error) {
	var c *ContainerConfig
	if err := decodeStrict(body, &c); err != nil {
		return nil, invalid("invalid JSON: %v", err)
	}
	return c, nil
}
