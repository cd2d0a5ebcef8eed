package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of every file and image: builds at different times are the
// same.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// entry of a layer, in the order in which it is to be unpacked.
type entry struct {
	name string // "bin/", "bin/sh": a directory ends with a slash
	mode int64  // permissions; 0 means 0755 for directories and 0644 for files
	uid  int
	gid  int
	data []byte
	sym  string // target of a symbolic link
	hard string // name of an earlier entry
}

// layer makes a gzipped OCI layer.
func layer(entries ...entry) (v1.Layer, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	have := map[string]*tar.Header{}
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.uid, Gid: e.gid, ModTime: epoch, Format: tar.FormatPAX}
		switch {
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
			if h.Mode == 0 {
				h.Mode = 0o755
			}
		case e.sym != "":
			h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, e.sym, 0o777
		case e.hard != "":
			// Docker gives the file what the last of its names says.
			of := have[e.hard]
			if of == nil {
				return nil, fmt.Errorf("layer: %s: link to %s, which is not before it", e.name, e.hard)
			}
			h.Typeflag, h.Linkname, h.Mode, h.Uid, h.Gid = tar.TypeLink, e.hard, of.Mode, of.Uid, of.Gid
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.data))
			if h.Mode == 0 {
				h.Mode = 0o644
			}
		}
		have[e.name] = h
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("layer: %s: %w", e.name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("layer: %s: %w", e.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}
