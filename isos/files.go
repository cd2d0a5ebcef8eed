package isos

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Sources are what a manifest is resolved against.
type Sources struct {
	// Kernel is the extracted kernel package.
	Kernel fs.FS
	// Packages are extracted Debian packages by name.
	Packages map[string]fs.FS
	// Programs are our static binaries by Go package ("cmd/tether").
	Programs map[string][]byte
}

// An Entry is one file of the initramfs, or of the disc's root folder.
type Entry struct {
	Path string
	Disc bool
	Mode fs.FileMode // with type bits
	Data []byte      // contents, or the target of a link
}

// Files resolves a manifest: every entry of the initramfs, sorted by path, with
// the directories they need, and those of the disc but kernel and boot loader.
func Files(m Manifest, src Sources) ([]Entry, error) {
	all := map[string]Entry{}
	for _, f := range m.Files {
		e, err := entry(f, src)
		if err != nil {
			return nil, fmt.Errorf("%s: /%s: %w", m.Name, f.Path, err)
		}
		if _, dup := all[e.Path]; dup {
			return nil, fmt.Errorf("%s: /%s is there twice", m.Name, f.Path)
		}
		all[e.Path] = e
	}
	if err := addModules(all, m.Modules, src.Kernel); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name, err)
	}
	for p, e := range all {
		if e.Disc {
			continue
		}
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			if _, ok := all[d]; !ok {
				all[d] = Entry{Path: d, Mode: fs.ModeDir | 0o755}
			}
		}
	}
	list := make([]Entry, 0, len(all))
	for _, e := range all {
		list = append(list, e)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Path < list[j].Path })
	return list, nil
}

func entry(f File, src Sources) (Entry, error) {
	e := Entry{Path: f.Path, Mode: f.Mode}
	switch {
	case f.Dir:
		e.Mode |= fs.ModeDir
	case f.Link != "":
		e.Mode, e.Data = fs.ModeSymlink|0o777, []byte(f.Link)
	case f.Program != "":
		b, ok := src.Programs[f.Program]
		if !ok {
			return e, fmt.Errorf("program %s was not built", f.Program)
		}
		e.Data = b
	case f.From != "":
		pkg, name, _ := strings.Cut(f.From, ":")
		tree, ok := src.Packages[pkg]
		if !ok {
			return e, fmt.Errorf("package %s is not among the inputs", pkg)
		}
		b, err := read(tree, name, f.Join)
		if err != nil {
			return e, fmt.Errorf("package %s: %w", pkg, err)
		}
		e.Data = b
	default:
		e.Data = []byte(f.Text)
	}
	return e, nil
}

func read(tree fs.FS, name string, join bool) ([]byte, error) {
	if !join {
		return fs.ReadFile(tree, name)
	}
	names, err := fs.Glob(tree, name)
	if err != nil || len(names) == 0 {
		return nil, fmt.Errorf("%s: no file matches (%v)", name, err)
	}
	var b bytes.Buffer
	for _, n := range names {
		data, err := fs.ReadFile(tree, n)
		if err != nil {
			return nil, err
		}
		b.Write(data)
		if !bytes.HasSuffix(data, []byte("\n")) {
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), nil
}

func addModules(all map[string]Entry, want []Module, kernel fs.FS) error {
	paths, err := modulePaths(kernel)
	if err != nil {
		return err
	}
	builtin, err := builtins(kernel)
	if err != nil {
		return err
	}
	data := map[string][]byte{}
	var broken error
	order, err := resolve(want, func(name string) (ModuleInfo, bool) {
		p, ok := paths[name]
		if !ok {
			return ModuleInfo{}, false
		}
		b, err := fs.ReadFile(kernel, p)
		if err != nil {
			broken = err
			return ModuleInfo{}, false
		}
		info, err := parseModule(p, b)
		if err != nil {
			broken = err
			return ModuleInfo{}, false
		}
		data[name] = unsigned(b)
		return info, true
	}, builtin)
	if broken != nil {
		return broken
	}
	if err != nil {
		return err
	}
	for _, m := range order {
		if m.Disc {
			b, err := squeeze(data[m.Name])
			if err != nil {
				return fmt.Errorf("module %s: %w", m.Name, err)
			}
			p := strings.ToUpper(discName(m.Name))
			all[p] = Entry{Path: p, Disc: true, Mode: 0o444, Data: b}
			continue
		}
		p := ModulesDir + "/" + m.Name + ".ko"
		all[p] = Entry{Path: p, Mode: 0o644, Data: data[m.Name]}
	}
	all[LoadListPath] = Entry{Path: LoadListPath, Mode: 0o644, Data: []byte(loadList(order))}
	return nil
}

// List is the file list of an image as kept in testdata: mode, path and, for
// links, the target. Sizes change with every compiler and are left out.
func List(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		where := ""
		if e.Disc {
			where = "disc:"
		}
		fmt.Fprintf(&b, "%v %s/%s", e.Mode, where, e.Path)
		if e.Mode&fs.ModeSymlink != 0 {
			fmt.Fprintf(&b, " -> %s", e.Data)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
