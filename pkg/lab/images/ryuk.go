package images

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Ryuk is the name under which Testcontainers' clients ask for their reaper. What
// is in it is a stand-in, see reaper/main.go.
const Ryuk = "testcontainers/ryuk:0.14.0"

func (b *builder) ryuk(ctx context.Context) (v1.Image, error) {
	bin, err := b.program(ctx, "reaper")
	if err != nil {
		return nil, err
	}
	return image(v1.Config{Env: []string{path}, Entrypoint: []string{"/bin/reaper"}, ExposedPorts: map[string]struct{}{"8080/tcp": {}}},
		step{"the program", []entry{{name: "bin/"}, {name: "bin/reaper", mode: 0o755, data: bin}}},
		step{"accounts and folders", etc()})
}
