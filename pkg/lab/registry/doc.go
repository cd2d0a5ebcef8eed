// Package registry is the lab's OCI registry: plain HTTP on a loopback address,
// blobs on disk, filled from a set of images.
//
//	r, err := registry.New(registry.Config{Addr: "127.0.0.1:5000", Dir: dir, Log: log})
//	err = r.Load(ctx, imgs) // before Run or later; map[string]v1.Image as images.Build returns it
//	err = r.Run(ctx)        // until ctx ends; New has taken the address already
//
// It must not be reachable from other computers: it has no authentication but for
// repositories that are private, whose password everybody knows.
//
// Start reading at registry.go.
package registry
