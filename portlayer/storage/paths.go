package storage

import (
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// layout knows where everything is below the store's root, such as
// "[images] VIC/<vch uuid>".
type layout struct{ root string }

// newLayout takes "[datastore] path" and the VCH's UUID.
func newLayout(imageStore, vch string) (layout, error) {
	ds, dir, ok := strings.Cut(imageStore, "]")
	if !ok || !strings.HasPrefix(ds, "[") || len(ds) < 2 {
		return layout{}, fmt.Errorf("image store %q: want \"[datastore] path\": %w", imageStore, errdefs.ErrInvalidArgument)
	}
	if vch == "" || strings.ContainsAny(vch, "/\\[]") {
		return layout{}, fmt.Errorf("VCH %q: want its UUID: %w", vch, errdefs.ErrInvalidArgument)
	}
	return layout{ds + "] " + path.Join(strings.Trim(strings.TrimSpace(dir), "/"), "VIC", vch)}, nil
}

// datastore is the name without brackets, for people.
func (l layout) datastore() string {
	return strings.TrimPrefix(l.root[:strings.IndexByte(l.root, ']')], "[")
}

func (l layout) join(elem ...string) string { return l.root + "/" + path.Join(elem...) }

func (l layout) tmp() string           { return l.join("tmp") }
func (l layout) blobs() string         { return l.join("blobs", "sha256") }
func (l layout) images() string        { return l.join("images") }
func (l layout) blanks() string        { return l.join("blank") }
func (l layout) names() string         { return l.join("repositories.json") }
func (l layout) blank(mb int64) string { return l.join("blank", fmt.Sprintf("ext4-%d.vmdk", mb)) }

func (l layout) blob(d digest.Digest) string { return l.join("blobs", "sha256", d.Encoded()) }

func (l layout) image(hex string) string { return l.join("images", hex) }
func (l layout) disk(hex string) string  { return l.join("images", hex, hex+".vmdk") }
func (l layout) meta(hex string) string  { return l.join("images", hex, "image.json") }

// parent is the folder that a datastore path is in.
func parent(p string) string {
	ds, rel, ok := strings.Cut(p, "] ")
	if !ok {
		return p
	}
	dir := path.Dir(rel)
	if dir == "." {
		return ds + "]"
	}
	return ds + "] " + dir
}
