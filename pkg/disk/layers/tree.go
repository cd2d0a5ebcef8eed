package layers

import (
	"path"
	"sort"
	"strings"
	"time"
)

// node is one name in the tree. Several nodes may share a file: hard links.
type node struct {
	file *file
	// children is not nil exactly for directories.
	children map[string]*node
	// stamp is the layer that last named it; -1 for a directory that no layer
	// has named but something below it.
	stamp int
}

// file is what an inode is.
type file struct {
	typ          byte // tar's type flag
	mode         int64
	uid, gid     int
	mtime        time.Time
	size         int64
	link         string // of a symlink
	major, minor int64
	xattrs       map[string]string
	// layer and entry say where the content is: the entry's number in the tar.
	layer, entry int
}

func newDir(stamp int) *node {
	return &node{
		file:     &file{typ: typeDir, mode: 0o755, mtime: time.Unix(0, 0)},
		children: map[string]*node{}, stamp: stamp,
	}
}

// maxSymlinks is how many symlinks are followed in one name, as on Linux.
const maxSymlinks = 40

// clean gives the parts of a name, with nothing that leads out of the tree.
func clean(name string) []string {
	c := strings.Trim(path.Clean("/"+name), "/")
	if c == "" {
		return nil
	}
	return strings.Split(c, "/")
}

// dir walks to the directory that parts name. Symlinks on the way are followed
// inside the tree, as if it were the root. A directory that is not there is
// made when create is true, otherwise nil is given. length is that of the
// directory's path without symlinks, in bytes.
func (t *Tree) dir(parts []string, create bool) (found *node, length int, err error) {
	links := 0
	// stack holds the directories from the root to where we are, for "..".
	type step struct {
		n      *node
		length int
	}
	stack := []step{{n: t.root}}
	for len(parts) > 0 {
		part := parts[0]
		parts = parts[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			continue
		}
		if len(part) > maxName {
			return nil, 0, invalid("file name too long")
		}
		at := stack[len(stack)-1]
		next := at.n.children[part]
		if next != nil && next.file.typ == typeSymlink {
			if links++; links > maxSymlinks {
				return nil, 0, invalid("too many levels of symbolic links")
			}
			target := strings.Split(next.file.link, "/")
			parts = append(target[:len(target):len(target)], parts...)
			if strings.HasPrefix(next.file.link, "/") {
				stack = stack[:1]
			}
			continue
		}
		if next == nil || next.children == nil {
			if !create {
				return nil, 0, nil
			}
			if err := t.spend(at.length + len(part)); err != nil {
				return nil, 0, err
			}
			next = newDir(-1)
			at.n.children[part] = next
		}
		if at.length+len(part) >= maxPath {
			return nil, 0, invalid("file name too long")
		}
		stack = append(stack, step{next, at.length + 1 + len(part)})
	}
	last := stack[len(stack)-1]
	return last.n, last.length, nil
}

// put gives the directory dir the child n.
func (t *Tree) put(dir *node, name string, n *node) {
	if old := dir.children[name]; old != nil && old.children != nil && n.children != nil {
		// A directory over a directory: what is in it stays.
		n.children = old.children
	}
	dir.children[name] = n
}

// hide removes what layers below stamp put at or below n. It tells whether n
// itself goes.
func hide(n *node, stamp int) bool {
	for name, c := range n.children {
		if hide(c, stamp) {
			delete(n.children, name)
		}
	}
	return n.stamp < stamp && len(n.children) == 0
}

// walk calls each for every node in the order of names, directories before
// what is in them. The root's name is "".
func (t *Tree) walk(each func(name string, n *node) error) error {
	return walk("", t.root, each)
}

func walk(name string, n *node, each func(string, *node) error) error {
	if err := each(name, n); err != nil {
		return err
	}
	names := make([]string, 0, len(n.children))
	for c := range n.children {
		names = append(names, c)
	}
	sort.Strings(names)
	for _, c := range names {
		if err := walk(path.Join(name, c), n.children[c], each); err != nil {
			return err
		}
	}
	return nil
}
