package api

import (
	"context"
	"errors"
	"io"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/types/backend"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"
)

// containerBackend serves docker's container router. Where its interface has
// no context the server's own is used: dockerd finishes these too.
type containerBackend struct{ *server }

func (b containerBackend) ContainerCreate(ctx context.Context, c backend.ContainerCreateConfig) (container.CreateResponse, error) {
	r, err := request(c.Config, c.HostConfig, c.NetworkingConfig)
	if err != nil {
		return container.CreateResponse{}, err
	}
	o := engine.CreateOptions{Name: c.Name, Request: r}
	if c.Platform != nil {
		o.Platform = c.Platform.OS
		if c.Platform.Architecture != "" {
			o.Platform += "/" + c.Platform.Architecture
		}
	}
	id, warnings, err := b.e.Create(ctx, o)
	if err != nil {
		return container.CreateResponse{}, err
	}
	return container.CreateResponse{ID: id, Warnings: append([]string{}, warnings...)}, nil
}

func (b containerBackend) ContainerStart(ctx context.Context, name, checkpoint, checkpointDir string) error {
	if checkpoint != "" || checkpointDir != "" {
		return missing("checkpoints (start --checkpoint)")
	}
	return b.e.Start(ctx, name)
}

func (b containerBackend) ContainerStop(ctx context.Context, name string, o container.StopOptions) error {
	return b.e.Stop(ctx, name, engine.StopOptions{Signal: o.Signal, Timeout: o.Timeout})
}

func (b containerBackend) ContainerRestart(ctx context.Context, name string, o container.StopOptions) error {
	return b.e.Restart(ctx, name, engine.StopOptions{Signal: o.Signal, Timeout: o.Timeout})
}

func (b containerBackend) ContainerKill(name, signal string) error {
	return b.e.Kill(b.Context, name, signal)
}

func (b containerBackend) ContainerRm(name string, c *backend.ContainerRmConfig) error {
	return b.e.Remove(b.Context, name, engine.RemoveOptions{Force: c.ForceRemove, Volumes: c.RemoveVolume, Link: c.RemoveLink})
}

func (b containerBackend) ContainerRename(old, name string) error {
	return b.e.Rename(b.Context, old, name)
}

func (b containerBackend) ContainerResize(ctx context.Context, name string, height, width uint32) error {
	return b.e.Resize(ctx, name, int(height), int(width))
}

func (b containerBackend) ContainerWait(ctx context.Context, name string, c container.WaitCondition) (<-chan container.StateStatus, error) {
	in, err := b.e.Wait(ctx, name, engine.WaitCondition(c))
	if err != nil {
		return nil, err
	}
	out := make(chan container.StateStatus, 1)
	go func() {
		r := <-in
		out <- container.NewStateStatus(r.Exit.Code, r.Err)
	}()
	return out, nil
}

func (b containerBackend) ContainersPrune(ctx context.Context, f filters.Args) (*container.PruneReport, error) {
	ids, freed, err := b.e.Prune(ctx, engineFilters(f))
	if err != nil {
		return nil, err
	}
	return &container.PruneReport{ContainersDeleted: ids, SpaceReclaimed: uint64(freed)}, nil
}

// ContainerAttach answers the client only when the container is ready for it,
// so a start that follows the answer can't be too early.
func (b containerBackend) ContainerAttach(name string, c *backend.ContainerAttachConfig) error {
	ctx, cancel := context.WithCancel(b.Context)
	defer cancel()
	var in io.ReadCloser
	defer func() {
		if in != nil {
			in.Close()
		}
	}()
	o := engine.AttachOptions{Stdin: c.UseStdin, Stdout: c.UseStdout, Stderr: c.UseStderr, Logs: c.Logs, Stream: c.Stream, DetachKeys: c.DetachKeys}
	return b.e.Attach(ctx, name, o, func(tty bool) (engine.Streams, error) {
		mux := !tty && c.MuxStreams
		stdin, stdout, stderr, err := c.GetStreams(mux, cancel)
		if err != nil {
			return engine.Streams{}, err
		}
		in = stdin
		if mux {
			stderr = stdcopy.NewStdWriter(stderr, stdcopy.Stderr)
			stdout = stdcopy.NewStdWriter(stdout, stdcopy.Stdout)
		}
		return engine.Streams{Stdin: stdin, Stdout: stdout, Stderr: stderr}, nil
	})
}

func (b containerBackend) ContainerExecCreate(name string, o *container.ExecOptions) (string, error) {
	eo := engine.ExecOptions{
		Cmd: o.Cmd, Env: o.Env, User: o.User, WorkingDir: o.WorkingDir, Tty: o.Tty, Privileged: o.Privileged,
		Stdin: o.AttachStdin, Stdout: o.AttachStdout, Stderr: o.AttachStderr, DetachKeys: o.DetachKeys,
	}
	if o.ConsoleSize != nil {
		eo.Rows, eo.Cols = int(o.ConsoleSize[0]), int(o.ConsoleSize[1])
	}
	return b.e.ExecCreate(name, eo)
}

func (b containerBackend) ExecExists(id string) (bool, error) {
	err := b.e.ExecExists(id)
	return err == nil, err
}

func (b containerBackend) ContainerExecStart(ctx context.Context, id string, o backend.ExecStartConfig) error {
	var rows, cols int
	if o.ConsoleSize != nil {
		rows, cols = int(o.ConsoleSize[0]), int(o.ConsoleSize[1])
	}
	return b.e.ExecStart(ctx, id, engine.Streams{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr}, rows, cols)
}

func (b containerBackend) ContainerExecResize(ctx context.Context, id string, height, width uint32) error {
	return b.e.ExecResize(ctx, id, int(height), int(width))
}

func (b containerBackend) ContainerExecInspect(id string) (*backend.ExecInspect, error) {
	x, err := b.e.ExecInspect(id)
	if err != nil {
		return nil, err
	}
	o := x.Options
	return &backend.ExecInspect{
		ID: x.ID, Running: x.Running, ExitCode: x.ExitCode, ContainerID: x.Container, Pid: x.Pid, DetachKeys: x.DetachKeys,
		OpenStdin: o.Stdin, OpenStdout: o.Stdout, OpenStderr: o.Stderr,
		ProcessConfig: &backend.ExecProcessConfig{Tty: o.Tty, Entrypoint: o.Cmd[0], Arguments: o.Cmd[1:], Privileged: &o.Privileged, User: x.User},
	}, nil
}

func (b containerBackend) ContainerInspect(ctx context.Context, name string, o backend.ContainerInspectOptions) (*container.InspectResponse, error) {
	i, err := b.e.Inspect(name)
	if err != nil {
		return nil, err
	}
	out, err := inspectResponse(i)
	if err != nil {
		return nil, err
	}
	if o.Size {
		rw, root := b.rootSizes(b.e.RootSizes(ctx, []string{i.Container.ID}), i)
		out.SizeRw, out.SizeRootFs = &rw, &root
	}
	return out, nil
}

// ContainerLogs is not used: the route is ours, see logs.go.
func (b containerBackend) ContainerLogs(context.Context, string, *container.LogsOptions) (<-chan *backend.LogMessage, bool, error) {
	return nil, false, errors.New("logs are served by our own route")
}

// Containers is not used: the route is ours, see list.go.
func (b containerBackend) Containers(context.Context, *container.ListOptions) ([]*container.Summary, error) {
	return nil, errors.New("lists are served by our own route")
}
