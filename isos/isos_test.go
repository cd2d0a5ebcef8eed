package isos

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
	"github.com/pierrec/lz4/v4"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s differs (-want +got); -update rewrites it:\n%s", file, d)
	}
}

// elfModule is the smallest ELF file that has a .modinfo section.
func elfModule(modinfo string) []byte {
	names := "\x00.shstrtab\x00.modinfo\x00"
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, 1)  // relocatable
	b = le.AppendUint16(b, 62) // x86-64
	b = le.AppendUint32(b, 1)
	b = append(b, make([]byte, 16)...)                         // entry, phoff
	b = le.AppendUint64(b, uint64(64+len(names)+len(modinfo))) // shoff
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 0, 0, 64, 3, 1} {
		b = le.AppendUint16(b, v)
	}
	b = append(append(b, names...), modinfo...)
	section := func(name, typ uint32, off, size int) {
		b = le.AppendUint32(le.AppendUint32(b, name), typ)
		b = append(b, make([]byte, 16)...)
		b = le.AppendUint64(le.AppendUint64(b, uint64(off)), uint64(size))
		b = append(b, make([]byte, 24)...)
	}
	section(0, 0, 0, 0)
	section(1, 3, 64, len(names))
	section(11, 1, 64+len(names), len(modinfo))
	return b
}

// kernelTree is a kernel package as recorded in testdata/modinfo.txt: a line
// "path depends" for each module.
func kernelTree(t *testing.T) fs.FS {
	t.Helper()
	text, err := os.ReadFile("testdata/modinfo.txt")
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{
		"lib/modules/6.1.0-0-cloud-amd64/modules.builtin": {Data: []byte("kernel/fs/ext4/ext4.ko\nkernel/crypto/crc32c_generic.ko\n")},
		"boot/vmlinuz-6.1.0-0-cloud-amd64":                {Data: bytes.Repeat([]byte("K"), 5000)},
	}
	for _, l := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		p, deps, _ := strings.Cut(l, " ")
		tree["lib/modules/6.1.0-0-cloud-amd64/"+p] = &fstest.MapFile{
			Data: elfModule("license=GPL\x00depends=" + deps + "\x00name=" + moduleName(p) + "\x00")}
	}
	return tree
}

// sources hold something for everything that a manifest asks for.
func sources(t *testing.T, m Manifest) Sources {
	src := Sources{Kernel: kernelTree(t), Packages: map[string]fs.FS{}, Programs: map[string][]byte{}}
	for _, f := range m.Files {
		if f.Program != "" {
			src.Programs[f.Program] = []byte("program " + f.Program)
		}
		if f.From == "" {
			continue
		}
		pkg, name, _ := strings.Cut(f.From, ":")
		tree, _ := src.Packages[pkg].(fstest.MapFS)
		if tree == nil {
			tree = fstest.MapFS{}
			src.Packages[pkg] = tree
		}
		tree[strings.ReplaceAll(name, "*", "some")] = &fstest.MapFile{Data: []byte(name)}
	}
	for _, p := range m.Packages {
		if src.Packages[p] == nil {
			t.Errorf("%s: package %s is listed and not used", m.Name, p)
		}
	}
	if len(src.Packages) != len(m.Packages) {
		t.Errorf("%s: files of %d packages, %d listed", m.Name, len(src.Packages), len(m.Packages))
	}
	src.Packages["isolinux"] = fstest.MapFS{"usr/lib/ISOLINUX/isolinux.bin": {Data: bytes.Repeat([]byte{1, 2, 3}, 1000)}}
	src.Packages["syslinux-common"] = fstest.MapFS{"usr/lib/syslinux/modules/bios/ldlinux.c32": {Data: []byte("ldlinux")}}
	return src
}

func TestFileLists(t *testing.T) {
	for _, m := range []Manifest{Bootstrap(), Appliance()} {
		entries, err := Files(m, sources(t, m))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, m.Name+".list", List(entries))
		for _, e := range entries {
			if e.Path == LoadListPath {
				golden(t, m.Name+".load", string(e.Data))
			}
		}
	}
}

func TestCommandLines(t *testing.T) {
	for _, c := range []struct {
		m       Manifest
		console string
	}{{Bootstrap(), "console=ttyS2"}, {Appliance(), "console=ttyS0"}} {
		if n := strings.Count(c.m.Cmdline, "console="); n != 1 || !strings.Contains(c.m.Cmdline, c.console) {
			t.Errorf("%s: command line %q: want only %s", c.m.Name, c.m.Cmdline, c.console)
		}
		cfg := isolinuxConfig(c.m.Cmdline)
		if !strings.Contains(cfg, "prompt 0\ntimeout 0\n") || strings.Contains(strings.ToLower(cfg), "serial") {
			t.Errorf("%s: isolinux.cfg:\n%s", c.m.Name, cfg)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	m := Bootstrap()
	for _, c := range []struct {
		name   string
		change func(*Manifest, *Sources)
		want   string
	}{
		{"program", func(m *Manifest, s *Sources) { delete(s.Programs, "cmd/tether") }, "cmd/tether"},
		{"module", func(m *Manifest, s *Sources) { m.Modules = []Module{{Name: "nosuch"}} }, "nosuch"},
		{"package", func(m *Manifest, s *Sources) { m.Files = append(m.Files, File{Path: "x", From: "pkg:x"}) }, "pkg"},
		{"file", func(m *Manifest, s *Sources) {
			m.Files = append(m.Files, File{Path: "x", From: "isolinux:nosuch"})
		}, "nosuch"},
		{"no match", func(m *Manifest, s *Sources) {
			m.Files = append(m.Files, File{Path: "x", From: "isolinux:no*", Join: true})
		}, "no*"},
		{"twice", func(m *Manifest, s *Sources) { m.Files = append(m.Files, File{Path: "init", Text: "x"}) }, "/init"},
	} {
		m2, src := m, sources(t, m)
		m2.Files = append([]File(nil), m.Files...)
		c.change(&m2, &src)
		if _, err := Files(m2, src); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to name %s", c.name, err, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	infos := map[string]ModuleInfo{
		"a": {Name: "a", Depends: []string{"c", "b"}},
		"b": {Name: "b", Depends: []string{"d", "soft?"}},
		"c": {Name: "c", Depends: []string{"d"}},
		"d": {Name: "d"},
		"x": {Name: "x", Depends: []string{"y"}},
		"y": {Name: "y", Depends: []string{"x"}},
		"z": {Name: "z", Depends: []string{"gone"}},
	}
	info := func(n string) (ModuleInfo, bool) { i, ok := infos[n]; return i, ok }
	for _, c := range []struct {
		want   []Module
		list   string
		errHas string
	}{
		{[]Module{{Name: "a"}}, "d.ko now -\nb.ko now -\nc.ko now -\na.ko now -\n", ""},
		{[]Module{{Name: "c", Device: "pci:1"}, {Name: "b", Device: "pci:2", Late: true}}, "d.ko now -\nc.ko now pci:1\nb.ko late pci:2\n", ""},
		{[]Module{{Name: "c", Late: true}, {Name: "d", Late: true}}, "d.ko late -\nc.ko late -\n", ""},
		{[]Module{{Name: "c", Demand: "y"}, {Name: "b", Demand: "x"}}, "d.ko demand:x,y -\nc.ko demand:y -\nb.ko demand:x -\n", ""},
		{[]Module{{Name: "c", Demand: "x"}, {Name: "b", Late: true}}, "d.ko late -\nc.ko demand:x -\nb.ko late -\n", ""},
		{[]Module{{Name: "c", Late: true}, {Name: "b", Demand: "x"}}, "d.ko late -\nc.ko late -\nb.ko demand:x -\n", ""},
		{[]Module{{Name: "c"}, {Name: "b", Demand: "x"}}, "d.ko now -\nc.ko now -\nb.ko demand:x -\n", ""},
		{[]Module{{Name: "built"}}, "", ""},
		{[]Module{{Name: "x"}}, "", "x → y → x"},
		{[]Module{{Name: "z"}}, "", "gone, needed by z"},
	} {
		order, err := resolve(c.want, info, map[string]bool{"built": true})
		if c.errHas != "" {
			if err == nil || !strings.Contains(err.Error(), c.errHas) {
				t.Errorf("%v: error %v, want %q", c.want, err, c.errHas)
			}
			continue
		}
		if err != nil {
			t.Error(err)
		}
		if got := loadList(order); got != c.list {
			t.Errorf("%v: got\n%swant\n%s", c.want, got, c.list)
		}
	}
}

func TestParseModinfo(t *testing.T) {
	m := parseModinfo("k/nft-x.ko", []byte("softdep=pre: crc32c-x foo post: bar\x00depends=a-b,c\x00junk\x00"))
	if d := cmp.Diff(ModuleInfo{Name: "nft_x", Path: "k/nft-x.ko", Depends: []string{"crc32c_x?", "foo?", "a_b", "c"}}, m); d != "" {
		t.Error(d)
	}
	if _, err := parseModule("x.ko", []byte("not ELF")); err == nil {
		t.Error("no error for a file that is not ELF")
	}
}

func TestUnsigned(t *testing.T) {
	sig := binary.BigEndian.AppendUint32(append([]byte("SIGNATURE"), make([]byte, 8)...), 9)
	signed := append(append([]byte("module"), sig...), signatureMark...)
	for _, c := range []struct{ in, want string }{
		{string(signed), "module"},
		{"module", "module"},
		{signatureMark, signatureMark},
		{"xxxxxxxxxxxx\xff\xff\xff\xff" + signatureMark, "xxxxxxxxxxxx\xff\xff\xff\xff" + signatureMark},
	} {
		if got := unsigned([]byte(c.in)); string(got) != c.want {
			t.Errorf("%q: got %q", c.in, got)
		}
	}
}

func TestInitramfs(t *testing.T) {
	entries := []Entry{
		{Path: "bin", Mode: fs.ModeDir | 0o755},
		{Path: "bin/sh", Mode: fs.ModeSymlink | 0o777, Data: []byte("busybox")},
		{Path: "init", Mode: 0o755, Data: bytes.Repeat([]byte("vic"), 100000)},
	}
	for _, c := range []Compression{None, Gzip, LZ4, Zstd} {
		a, err := Initramfs(entries, time.Unix(1, 0), c)
		if err != nil {
			t.Fatal(err)
		}
		b, err := Initramfs(entries, time.Unix(1, 0), c)
		if err != nil || sha256.Sum256(a) != sha256.Sum256(b) {
			t.Errorf("%s: two runs differ (%v)", c, err)
		}
	}
	if _, err := Initramfs(entries, time.Unix(1, 0), "rar"); err == nil {
		t.Error("unknown compression accepted")
	}
	if _, err := Initramfs([]Entry{{Path: "x", Mode: fs.ModeSocket}}, time.Unix(1, 0), None); err == nil {
		t.Error("socket accepted")
	}
	z, err := Initramfs(entries, time.Unix(1, 0), LZ4)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(z, []byte{0x02, 0x21, 0x4c, 0x18}) {
		t.Errorf("the kernel knows only LZ4's legacy frame, this begins % x", z[:4])
	}
	r := cpio.NewReader(lz4.NewReader(bytes.NewReader(z)))
	for _, e := range entries {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, h.Linkname...)
		if h.Name != e.Path || uint32(h.Mode.Perm()) != uint32(e.Mode.Perm()) || !bytes.Equal(data, e.Data) || h.ModTime.Unix() != 1 {
			t.Errorf("%s: read back %s %v, %d bytes, %v", e.Path, h.Name, h.Mode, len(data), h.ModTime)
		}
	}
}

func TestEpochAndVersionChangeNothingElse(t *testing.T) {
	m := Bootstrap()
	src := sources(t, m)
	make := func(sec int64) []byte {
		b, err := assemble(m, src, nil, []byte("initrd"), time.Unix(sec, 0))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(make(1e9), make(1e9)) {
		t.Error("same inputs, other bytes")
	}
	if bytes.Equal(make(1e9), make(2e9)) {
		t.Error("the epoch does not reach the image")
	}
}

func FuzzParseModule(f *testing.F) {
	f.Add(elfModule("depends=a,b\x00softdep=pre: c post: d\x00"))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseModule("k/x-y.ko", b)
		if err == nil && m.Name != "x_y" {
			t.Errorf("name %q", m.Name)
		}
		if u := unsigned(b); !bytes.HasPrefix(b, u) {
			t.Error("unsigned is no beginning of the module")
		}
	})
}
