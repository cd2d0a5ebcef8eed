package builder

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

const (
	// maxPeek is how much of a context is kept in memory in search of its Dockerfile,
	// in bytes as they are sent.
	maxPeek = 8 << 20
	// maxUnpacked is how much is unpacked of it, in bytes: zeros pack well.
	maxUnpacked = 8 * maxPeek
	// maxDockerfile is how long one may be to be looked into.
	maxDockerfile = 1 << 20
)

// peekStages looks for the Dockerfile called name in a context, a tar that may be
// packed with gzip, and gives its stages; nil when it is not among the first maxPeek
// bytes, or is no Dockerfile. whole is the context from its start.
func peekStages(context io.Reader, name string) (stages map[string]bool, whole io.Reader) {
	var kept bytes.Buffer
	in := bufio.NewReader(io.TeeReader(io.LimitReader(context, maxPeek), &kept))
	text, err := findInTar(in, name)
	if err == nil {
		stages, _ = stagesOf(text) // the build itself will say what is wrong
	}
	return stages, io.MultiReader(&kept, context)
}

// findInTar gives the first file of that name in a tar, packed or not.
func findInTar(in *bufio.Reader, name string) ([]byte, error) {
	var src io.Reader = in
	if head, _ := in.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		src = io.LimitReader(z, maxUnpacked)
	}
	if name == "" {
		name = "Dockerfile"
	}
	want := path.Clean("/" + name)
	t := tar.NewReader(src)
	for {
		h, err := t.Next()
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || path.Clean("/"+h.Name) != want {
			continue
		}
		if h.Size > maxDockerfile {
			return nil, errdefs.ErrOutOfRange
		}
		return io.ReadAll(t)
	}
}

// stagesOf gives the names of a Dockerfile's stages, in lower case.
func stagesOf(dockerfile []byte) (map[string]bool, error) {
	p, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil, err
	}
	list, _, err := instructions.Parse(p.AST, nil)
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, s := range list {
		if s.Name != "" {
			out[strings.ToLower(s.Name)] = true
		}
	}
	return out, nil
}
