package exec

import (
	"context"
	"io"
	"strings"

	"github.com/vic-engine/vic/portlayer/vmspec"
)

// consoleBytes and consoleLines bound what an error shows of a console.
const (
	consoleBytes = 4096
	consoleLines = 15
)

func (m *Manager) consoleTail(ctx context.Context, id string) (string, error) {
	p := vmspec.Path(m.cfg.DatastoreName, id, vmspec.ConsoleLog)
	r, size, err := m.cfg.Datastore.Get(ctx, p, 0)
	if err != nil {
		return "", err
	}
	if size > consoleBytes {
		r.Close()
		if r, _, err = m.cfg.Datastore.Get(ctx, p, size-consoleBytes); err != nil {
			return "", err
		}
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, 2*consoleBytes))
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(b), "?")), "\n")
	if len(lines) > consoleLines {
		lines = lines[len(lines)-consoleLines:]
	}
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], "\r")
	}
	return strings.Join(lines, "\n"), nil
}
