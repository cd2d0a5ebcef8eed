package portlayer

import (
	"context"
	"io"

	"github.com/vic-engine/vic/pkg/spec"
)

// StatFile tells about one file of a container; see engine.Files for this and
// what follows.
func (p *PortLayer) StatFile(ctx context.Context, id, path string) (spec.FileStat, error) {
	m, err := p.manage()
	if err != nil {
		return spec.FileStat{}, err
	}
	return m.StatFile(ctx, id, path)
}

// GetFiles writes a tar of a file or folder.
func (p *PortLayer) GetFiles(ctx context.Context, id, path string, begin func(spec.FileStat) (io.Writer, error)) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.GetFiles(ctx, id, path, begin)
}

// PutFiles unpacks a tar into a folder.
func (p *PortLayer) PutFiles(ctx context.Context, id string, q spec.FileRequest, tar io.Reader) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.PutFiles(ctx, id, q, tar)
}

// Changes gives how a container's files differ from its image's.
func (p *PortLayer) Changes(ctx context.Context, id string) ([]spec.FileChange, error) {
	m, err := p.manage()
	if err != nil {
		return nil, err
	}
	return m.Changes(ctx, id)
}

// Export writes a tar of a container's files.
func (p *PortLayer) Export(ctx context.Context, id string, w io.Writer) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Export(ctx, id, w)
}

// Layer writes a tar of what a container has changed.
func (p *PortLayer) Layer(ctx context.Context, id string, w io.Writer) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Layer(ctx, id, w)
}

// up is told of each new line. A guest that only serves files is on no network.
func (p *PortLayer) up(id string) {
	if m, err := p.manage(); err == nil {
		m.OnLine(id)
		if m.InMaintenance(id) {
			return
		}
		m.OnUp(id)
	}
	p.router.up(id)
}

// again is told that a line goes on after a cut.
func (p *PortLayer) again(id string) {
	if m, err := p.manage(); err == nil {
		m.OnLine(id)
	}
}
