package engine

import (
	"context"
	"fmt"
)

// Top lists a container's processes in the columns that ps shows for its arguments;
// empty: "-ef".
func (e *Engine) Top(ctx context.Context, ref, args string) (titles []string, rows [][]string, err error) {
	columns, err := psColumns(args)
	if err != nil {
		return nil, nil, err
	}
	v, err := e.controllable(ref, "listing a container's processes (top)")
	if err != nil {
		return nil, nil, err
	}
	if err := e.mustRun(v); err != nil {
		return nil, nil, err
	}
	t, err := e.controls.Processes(ctx, v.Container.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("processes of container %s: %w", ref, err)
	}
	titles, rows = psTable(columns, t)
	e.containerEvent(v, "top", nil)
	return titles, rows, nil
}
