package storage

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/vic-engine/vic/pkg/image"
)

// names is repositories.json: image ids by normalized reference, with tag
// ("docker.io/library/busybox:latest") or digest. It is changed by copying.
type names map[string]digest.Digest

type namesFile struct {
	Version int
	Names   names
}

func (n names) encode() ([]byte, error) {
	return json.MarshalIndent(namesFile{Version: recordVersion, Names: n}, "", " ")
}

func parseNames(raw []byte) (names, error) {
	var f namesFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrDataLoss)
	}
	if f.Version > recordVersion {
		return nil, fmt.Errorf("version %d: %w", f.Version, errNewer)
	}
	if f.Names == nil {
		f.Names = names{}
	}
	return f.Names, nil
}

// of gives an image's names as Docker shows them, tags and digests, sorted.
func (n names) of(id digest.Digest) (tags, digests []string) {
	for name, to := range n {
		if to != id {
			continue
		}
		if strings.Contains(name, "@") {
			digests = append(digests, image.Familiar(name))
			continue
		}
		tags = append(tags, image.Familiar(name))
	}
	sort.Strings(tags)
	sort.Strings(digests)
	return tags, digests
}

// beside gives a name of an image that is none of the known ones; "": there is none.
func (n names) beside(id digest.Digest, known map[string]bool) string {
	for name, to := range n.sorted() {
		if to == id && !known[name] {
			return name
		}
	}
	return ""
}

// sorted gives the names in their order.
func (n names) sorted() iter.Seq2[string, digest.Digest] {
	return func(yield func(string, digest.Digest) bool) {
		for _, name := range slices.Sorted(maps.Keys(n)) {
			if !yield(name, n[name]) {
				return
			}
		}
	}
}

// with gives a copy in which the names point to id.
func (n names) with(id digest.Digest, add ...string) names {
	c := maps.Clone(n)
	for _, name := range add {
		c[name] = id
	}
	return c
}

// without gives a copy that lacks the names for which drop is true.
func (n names) without(drop func(name string, id digest.Digest) bool) names {
	c := maps.Clone(n)
	maps.DeleteFunc(c, drop)
	return c
}

// pulled are the names that a pull of ref gives: the tag, if it was pulled by
// one, and the digest.
func pulled(ref reference.Named, d digest.Digest) []string {
	var out []string
	if _, ok := ref.(reference.Tagged); ok {
		out = append(out, ref.String())
	}
	return append(out, reference.TrimNamed(ref).Name()+"@"+d.String())
}
