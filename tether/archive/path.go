package archive

import (
	"path"
	"strings"
)

// absolute gives p as an absolute path without "." and ".." in it. A "/" or "/."
// at its end is kept, since it says more: the folder a link leads to, and what is
// in a folder. (Docker's archive.PreserveTrailingDotOrSeparator.)
func absolute(p string) string {
	out := path.Join("/", p)
	dot := p == "." || strings.HasSuffix(p, "/.")
	switch {
	case dot && path.Base(out) != ".":
		return strings.TrimSuffix(out, "/") + "/."
	case strings.HasSuffix(p, "/") && !strings.HasSuffix(out, "/"):
		return out + "/"
	}
	return out
}

// rebase gives the name that a file has in the tar of something called base: "."
// is the thing itself. What is in "/" gets a leading slash, as Docker has it.
func rebase(base, rel string) string {
	if base == "/" {
		base = ""
	}
	if rel == "." {
		return base
	}
	return base + "/" + rel
}
