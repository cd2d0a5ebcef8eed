package portlayer

import (
	"context"

	"github.com/vic-engine/vic/pkg/spec"
)

// Pause freezes a container's processes; see engine.Controls for this and what
// follows.
func (p *PortLayer) Pause(ctx context.Context, id string) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Pause(ctx, id)
}

// Unpause lets them go on.
func (p *PortLayer) Unpause(ctx context.Context, id string) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Unpause(ctx, id)
}

// Stats reads what a container uses.
func (p *PortLayer) Stats(ctx context.Context, id string) (spec.Stats, error) {
	m, err := p.manage()
	if err != nil {
		return spec.Stats{}, err
	}
	return m.Stats(ctx, id)
}

// Processes lists a container's processes.
func (p *PortLayer) Processes(ctx context.Context, id string) (spec.ProcessTable, error) {
	m, err := p.manage()
	if err != nil {
		return spec.ProcessTable{}, err
	}
	return m.Processes(ctx, id)
}

// Reshape changes a container's resources and limits.
func (p *PortLayer) Reshape(ctx context.Context, id string, change func(*spec.Container) error) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Reshape(ctx, id, change)
}
