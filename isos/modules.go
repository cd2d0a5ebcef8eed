package isos

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
)

// ModuleInfo is what one module file says of itself.
type ModuleInfo struct {
	Name    string // with underscores, as in /proc/modules
	Path    string // in the package
	Depends []string
}

// parseModule reads a module's .modinfo section: NUL-separated key=value
// texts. Debian's packages have no modules.dep (depmod makes it at install),
// so the dependencies come from where depmod takes them.
func parseModule(p string, data []byte) (ModuleInfo, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return ModuleInfo{}, fmt.Errorf("module %s: %w", p, err)
	}
	s := f.Section(".modinfo")
	if s == nil {
		return ModuleInfo{}, fmt.Errorf("module %s: no .modinfo section", p)
	}
	text, err := s.Data()
	if err != nil {
		return ModuleInfo{}, fmt.Errorf("module %s: .modinfo: %w", p, err)
	}
	return parseModinfo(p, text), nil
}

func parseModinfo(p string, text []byte) ModuleInfo {
	m := ModuleInfo{Name: moduleName(p), Path: p}
	for _, kv := range strings.Split(string(text), "\x00") {
		k, v, ok := strings.Cut(kv, "=")
		if !ok {
			continue
		}
		switch k {
		case "depends":
			for _, d := range strings.Split(v, ",") {
				if d != "" {
					m.Depends = append(m.Depends, canonical(d))
				}
			}
		case "softdep":
			if pre, ok := strings.CutPrefix(v, "pre: "); ok {
				for _, d := range strings.Fields(pre) {
					if d == "post:" {
						break
					}
					m.Depends = append(m.Depends, canonical(d)+"?")
				}
			}
		}
	}
	return m
}

// signatureMark ends a signed module: contents, signature, 12 bytes of which the
// last four are the signature's length (big-endian), mark
// (Documentation/admin-guide/module-signing.rst).
const signatureMark = "~Module signature appended~\n"

// unsigned cuts the signature off a module. The initramfs that it is loaded
// from is not signed, so a signature guards nothing there, and to check it
// takes an emulated processor a tenth of the boot.
func unsigned(data []byte) []byte {
	body, ok := bytes.CutSuffix(data, []byte(signatureMark))
	if !ok || len(body) < 12 {
		return data
	}
	n := int(binary.BigEndian.Uint32(body[len(body)-4:])) + 12
	if n > len(body) {
		return data
	}
	return body[:len(body)-n]
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

func moduleName(p string) string { return canonical(strings.TrimSuffix(path.Base(p), ".ko")) }

// modulePaths finds every module of a kernel tree by name.
func modulePaths(tree fs.FS) (map[string]string, error) {
	paths := map[string]string{}
	err := fs.WalkDir(tree, "lib/modules", func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".ko") {
			paths[moduleName(p)] = p
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for modules: %w", err)
	}
	return paths, nil
}

// builtins reads modules.builtin: what is part of the kernel itself.
func builtins(tree fs.FS) (map[string]bool, error) {
	names := map[string]bool{}
	found, err := fs.Glob(tree, "lib/modules/*/modules.builtin")
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("kernel package: %d files modules.builtin, want 1 (%v)", len(found), err)
	}
	text, err := fs.ReadFile(tree, found[0])
	if err != nil {
		return nil, err
	}
	for _, l := range strings.Fields(string(text)) {
		names[moduleName(l)] = true
	}
	return names, nil
}

// A loadItem is one line of the list that the guest loads by.
type loadItem struct {
	Module
	Info ModuleInfo
}

// resolve orders the wanted modules, each after what it depends on. A module
// pulled in by several keeps no Device condition unless all agree, and is late,
// loaded on demand, or on the disc, only if it is for all. Soft dependencies ("name?") that do not exist are left out.
func resolve(want []Module, info func(name string) (ModuleInfo, bool), builtin map[string]bool) ([]loadItem, error) {
	var order []loadItem
	at := map[string]int{}
	var add func(m Module, chain []string) error
	add = func(m Module, chain []string) error {
		soft := strings.HasSuffix(m.Name, "?")
		name := strings.TrimSuffix(m.Name, "?")
		if builtin[name] {
			return nil
		}
		for _, c := range chain {
			if c == name {
				return fmt.Errorf("module %s depends on itself: %s", name, strings.Join(append(chain, name), " → "))
			}
		}
		i, ok := info(name)
		if !ok {
			if soft {
				return nil
			}
			if len(chain) == 0 {
				return fmt.Errorf("module %s: not in the kernel package", name)
			}
			return fmt.Errorf("module %s, needed by %s: not in the kernel package", name, strings.Join(chain, " ← "))
		}
		deps := append([]string(nil), i.Depends...)
		sort.Strings(deps)
		for _, d := range deps {
			if err := add(Module{Name: d, Device: m.Device, Late: m.Late, Demand: m.Demand, Disc: m.Disc}, append(chain, name)); err != nil {
				return err
			}
		}
		if n, ok := at[name]; ok {
			if order[n].Device != m.Device {
				order[n].Device = ""
			}
			order[n].earlier(m)
			if m.Options != "" {
				order[n].Options = m.Options
			}
			return nil
		}
		at[name] = len(order)
		order = append(order, loadItem{Module: Module{Name: name, Device: m.Device, Options: m.Options, Late: m.Late, Demand: m.Demand, Disc: m.Disc}, Info: i})
		return nil
	}
	for _, m := range want {
		if err := add(m, nil); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// earlier makes m of the phase that both m and o are well with.
func (m *Module) earlier(o Module) {
	m.Disc = m.Disc && o.Disc
	switch {
	case m.Demand != "" && o.Demand != "":
		names := strings.Split(m.Demand+","+o.Demand, ",")
		sort.Strings(names)
		m.Demand = strings.Join(slices.Compact(names), ",")
	case m.Demand != "":
		m.Demand, m.Late = "", o.Late
	case o.Demand == "":
		m.Late = m.Late && o.Late
	}
}

// loadList is the text of LoadListPath: a line for each module in load order,
// "file when device options", where when is now, late or demand: and what needs it
// (see package tether/system), and device is - or the beginning of a modalias; options, if any, take the rest of the line.
func loadList(order []loadItem) string {
	var b strings.Builder
	for _, m := range order {
		when, dev := "now", m.Device
		if m.Late {
			when = "late"
		}
		if m.Demand != "" {
			when = "demand:" + m.Demand
		}
		if dev == "" {
			dev = "-"
		}
		file := m.Name + ".ko"
		if m.Disc {
			file = discName(m.Name)
		}
		line := fmt.Sprintf("%s %s %s %s", file, when, dev, m.Options)
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// discName is how the guest sees a module of the disc, which is compressed with
// gzip: Linux shows ISO 9660's upper-case names in lower case.
func discName(module string) string { return module + ".kgz" }

// squeeze compresses a module, and gives the same bytes for the same module.
func squeeze(data []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(data); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Where the guest finds its modules: one folder, freed after loading.
const (
	ModulesDir   = "lib/modules"
	LoadListPath = ModulesDir + "/load"
)
