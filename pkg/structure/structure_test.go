package structure

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/vic-engine/vic/"

// file is one Go file of the project, as much as these tests need.
type file struct {
	pkg     string // folder below the module's root
	name    string
	test    bool
	doc     string
	imports []string
}

// files parses every Go file below the module's root. It reads the sources
// themselves: a test over `go list` would be cached when they change.
func files(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	var out []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		x := file{pkg: filepath.ToSlash(rel), name: d.Name(), test: strings.HasSuffix(path, "_test.go"), doc: f.Doc.Text()}
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			x.imports = append(x.imports, p)
		}
		out = append(out, x)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 100 {
		t.Fatalf("found %d Go files: the walk is broken", len(out))
	}
	return out
}

// ban forbids that packages below from import packages below to.
type ban struct {
	from, to string
	except   []string // packages below from that may
	why      string
}

var bans = []ban{
	{"pkg", module + "portlayer", []string{"pkg/lab/e2e"}, "pkg is the bottom: what portlayer needs of a caller it takes as an interface"},
	{"pkg", module + "tether", []string{"pkg/lab/e2e"}, "pkg runs on workstations too; tether is the guest's PID 1"},
	{"pkg", module + "isos", []string{"pkg/lab/e2e", "pkg/lab/e2e/bench"}, "boot images are made from the programs, not known to them"},
	{"pkg", module + "cmd", nil, "a main is the top"},
	{"portlayer", module + "tether", nil, "the two ends of the control line meet only in pkg/spec, pkg/guestinfo and pkg/tetherproto"},
	{"tether", module + "portlayer", nil, "the two ends of the control line meet only in pkg/spec, pkg/guestinfo and pkg/tetherproto"},
	{"portlayer", module + "pkg/docker", nil, "the port layer knows vSphere, not Docker"},
	{"portlayer", module + "pkg/lab", nil, "the product must not know that it runs in a lab"},
	{"tether", module + "pkg/lab", nil, "the product must not know that it runs in a lab"},
	{"pkg/install", module + "pkg/lab", nil, "the product must not know that it runs in a lab"},
	{"pkg/docker/engine", "github.com/docker/docker", nil, "docker/docker is frozen: moving to its successor must touch pkg/docker/api alone"},
	{"portlayer", "github.com/docker/docker", nil, "docker/docker is frozen: moving to its successor must touch pkg/docker/api alone"},
	{"tether", "github.com/docker/docker", nil, "docker/docker is frozen, and PID 1 stays small"},
	{"tether", "github.com/vmware/govmomi", []string{"tether"}, "PID 1 stays small: only the toolbox, only in its boot steps"},
	{"cmd", "github.com/docker/docker", nil, "docker/docker is frozen: moving to its successor must touch pkg/docker/api alone"},
	{"", "github.com/stretchr/testify", nil, "the standard library and go-cmp say more in less"},
	{"pkg/spec", module, nil, "the vocabulary imports nothing of the project, so that everybody may use it"},
	{"pkg/guestinfo", "github.com/vmware/govmomi", []string{"pkg/guestinfo/rpci"}, "the codec is pure"},
}

func TestImports(t *testing.T) {
	for _, f := range files(t) {
		if f.test {
			continue // a test may look at both sides
		}
		for _, b := range bans {
			if !below(f.pkg, b.from) || exempt(f.pkg, b.except) {
				continue
			}
			for _, i := range f.imports {
				if i == b.to || strings.HasPrefix(i, strings.TrimSuffix(b.to, "/")+"/") {
					t.Errorf("%s/%s imports %s: %s", f.pkg, f.name, i, b.why)
				}
			}
		}
	}
}

// TestBansBite shows that the walk sees imports that exist, so that a ban
// which finds nothing is one that holds.
func TestBansBite(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range files(t) {
		for _, i := range f.imports {
			seen[i] = true
		}
	}
	for _, want := range []string{module + "pkg/spec", "github.com/vmware/govmomi/simulator", "github.com/sirupsen/logrus"} {
		if !seen[want] {
			t.Errorf("no file imports %s: the walk is broken", want)
		}
	}
}

func TestEveryPackageExplainsItself(t *testing.T) {
	docs := map[string]string{}
	for _, f := range files(t) {
		if f.test {
			if _, ok := docs[f.pkg]; !ok && f.pkg != "." {
				docs[f.pkg] += ""
			}
			continue
		}
		docs[f.pkg] += f.doc
	}
	for pkg, doc := range docs {
		if len(strings.TrimSpace(doc)) < 60 {
			t.Errorf("%s: no package comment that says what the package owns", pkg)
		}
	}
}

func below(pkg, from string) bool {
	return from == "" || pkg == from || strings.HasPrefix(pkg, from+"/")
}

func exempt(pkg string, except []string) bool {
	for _, e := range except {
		if pkg == e {
			return true
		}
	}
	return false
}
