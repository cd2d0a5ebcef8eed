package images

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Ryuk and OldRyuk are the names under which Testcontainers' clients ask for their
// reaper: that for Go 0.45, and that for Node 10. What is in them is a stand-in, see
// reaper/main.go.
const (
	Ryuk    = "testcontainers/ryuk:0.14.0"
	OldRyuk = "testcontainers/ryuk:0.11.0"
)

func (b *builder) ryuk(ctx context.Context) (v1.Image, error) {
	bin, err := b.program(ctx, "reaper")
	if err != nil {
		return nil, err
	}
	return image(v1.Config{Env: []string{path}, Entrypoint: []string{"/bin/reaper"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
		step{"the program", []entry{{name: "bin/"}, {name: "bin/reaper", mode: 0o755, data: bin}}},
		step{"accounts and folders", etc()})
}
