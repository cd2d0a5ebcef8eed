package images

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sirupsen/logrus"

	"github.com/containerd/errdefs"
)

// Config of Build.
type Config struct {
	// Dir caches compiled and downloaded programs; required.
	Dir string
	// Programs is a folder with programs made before: hello, web, reaper, busybox. Those
	// that are not there are compiled, or taken from the system.
	Programs string
	// Go is the go command; default "go" from PATH. Used only when a program
	// must be compiled.
	Go  string
	Log *logrus.Entry // required
}

// Names of the images, as a registry has them. Layers and Damaged serve tests:
// the one exercises everything that layers can do to each other, the other is
// served with a wrong blob by package registry.
const (
	HelloWorld = "library/hello-world:latest"
	Busybox    = "library/busybox:latest"
	Web        = "library/web:latest"
	Layers     = "library/layers:latest"
	Damaged    = "library/damaged:latest"
)

type builder struct {
	cfg Config
	bb  []byte // busybox
}

// Build makes all images.
func Build(ctx context.Context, cfg Config) (map[string]v1.Image, error) {
	if cfg.Dir == "" || cfg.Log == nil {
		return nil, fmt.Errorf("images: no folder or no log: %w", errdefs.ErrInvalidArgument)
	}
	b := &builder{cfg: cfg}
	var err error
	if b.bb, err = b.busybox(ctx); err != nil {
		return nil, err
	}
	out := map[string]v1.Image{}
	for name, make := range map[string]func(context.Context) (v1.Image, error){
		HelloWorld: b.helloWorld, Busybox: b.busyboxImage, Web: b.web, Layers: b.layers, Damaged: b.damaged, Ryuk: b.ryuk, OldRyuk: b.ryuk,
	} {
		img, err := make(ctx)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", name, err)
		}
		out[name] = img
		if d, err := img.Digest(); err == nil {
			cfg.Log.WithField("image", name).WithField("digest", d.String()).Debug("image built")
		}
	}
	return out, nil
}

const path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (b *builder) helloWorld(ctx context.Context) (v1.Image, error) {
	bin, err := b.program(ctx, "hello")
	if err != nil {
		return nil, err
	}
	return image(v1.Config{Env: []string{path}, Cmd: []string{"/hello"}, WorkingDir: "/"},
		step{"the program", []entry{{name: "hello", mode: 0o755, data: bin}}})
}

func (b *builder) busyboxImage(ctx context.Context) (v1.Image, error) {
	base, err := b.busyboxBase(ctx)
	if err != nil {
		return nil, err
	}
	return image(v1.Config{Env: []string{path}, Cmd: []string{"sh"}}, base...)
}

// busyboxBase is a file system with busybox under the names of all its applets.
func (b *builder) busyboxBase(ctx context.Context) ([]step, error) {
	applets, err := b.applets(ctx)
	if err != nil {
		return nil, err
	}
	bin := []entry{{name: "bin/"}, {name: "bin/busybox", mode: 0o755, data: b.bb}}
	for _, a := range applets {
		bin = append(bin, entry{name: "bin/" + a, hard: "bin/busybox"})
	}
	bin = append(bin, entry{name: "usr/"}, entry{name: "usr/bin/"}, entry{name: "usr/bin/env", sym: "../../bin/env"})
	return []step{{"busybox", bin}, {"accounts and folders", etc()}}, nil
}

// applets are the names that busybox answers to.
func (b *builder) applets(ctx context.Context) ([]string, error) {
	bin, err := b.runnable()
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, bin, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	applets := strings.Fields(string(out))
	slices.Sort(applets)
	applets = slices.DeleteFunc(slices.Compact(applets), func(s string) bool { return s == "busybox" || strings.Contains(s, "/") })
	if !slices.Contains(applets, "sh") {
		return nil, fmt.Errorf("busybox has no sh: %w", errdefs.ErrInvalidArgument)
	}
	return applets, nil
}

func etc() []entry {
	passwd := `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
`
	group := `root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
utmp:x:43:
www-data:x:33:
staff:x:50:
users:x:100:
nogroup:x:65534:
`
	shadow := `root:*:::::::
daemon:*:::::::
www-data:*:::::::
nobody:*:::::::
`
	return []entry{
		{name: "dev/"}, {name: "etc/"},
		{name: "etc/passwd", data: []byte(passwd)},
		{name: "etc/group", data: []byte(group)},
		{name: "etc/shadow", data: []byte(shadow), mode: 0o640},
		{name: "etc/os-release", data: []byte("NAME=\"vic lab busybox\"\nID=vic-busybox\n")},
		{name: "home/", uid: 65534, gid: 65534},
		{name: "root/", mode: 0o700},
		{name: "tmp/", mode: 0o1777},
		{name: "usr/sbin/", uid: 1, gid: 1},
		{name: "var/"}, {name: "var/spool/"}, {name: "var/spool/mail/", uid: 8, gid: 8},
		{name: "var/www/", uid: 33, gid: 33},
	}
}

func (b *builder) web(ctx context.Context) (v1.Image, error) {
	bin, err := b.program(ctx, "web")
	if err != nil {
		return nil, err
	}
	index := "<!doctype html>\n<title>vic</title>\n<h1>It works</h1>\n<p>This page comes from a container that is a virtual machine.</p>\n"
	return image(v1.Config{
		Env:          []string{path, "WWW=/www"},
		Entrypoint:   []string{"/usr/bin/web"},
		ExposedPorts: map[string]struct{}{"80/tcp": {}},
		StopSignal:   "SIGTERM",
		WorkingDir:   "/www",
		Labels:       map[string]string{"org.opencontainers.image.title": "web"},
	},
		step{"the program", []entry{{name: "usr/"}, {name: "usr/bin/"}, {name: "usr/bin/web", mode: 0o755, data: bin}}},
		step{"accounts and folders", append(etc(), entry{name: "etc/hosts", data: []byte("127.0.0.1 localhost\n")})},
		step{"the pages", []entry{{name: "www/"}, {name: "www/index.html", data: []byte(index)}}})
}

// layers has in its upper layers everything that changes the lower ones. Its
// command says "layers ok" if they were put together right.
func (b *builder) layers(ctx context.Context) (v1.Image, error) {
	base, err := b.busyboxBase(ctx)
	if err != nil {
		return nil, err
	}
	check := `set -e
cd /data
test ! -e gone
test ! -e gone-dir
test "$(ls opaque)" = new
test "$(cat changed)" = after
test -d was-file
test -f was-dir
test "$(readlink link)" = changed
test "$(stat -c %i one)" = "$(stat -c %i two)"
test "$(stat -c %a:%u:%g special)" = 4750:1000:33
test "$(cat "name with spaces and ünïcode")" = text
echo layers ok
`
	text := func(name, s string) entry { return entry{name: "data/" + name, data: []byte(s)} }
	return image(v1.Config{Env: []string{path, "LAYERS=4"}, Cmd: []string{"sh", "/data/check"}, User: "root"}, append(base,
		step{"the lower layer", []entry{
			{name: "data/"}, text("gone", "x"), {name: "data/gone-dir/"}, text("gone-dir/f", "x"),
			{name: "data/opaque/"}, text("opaque/old", "x"), text("changed", "before"),
			text("was-file", "x"), {name: "data/was-dir/"}, text("was-dir/f", "x"), text("one", "same"),
		}},
		step{"the upper layer", []entry{
			text(".wh.gone", ""), text(".wh.gone-dir", ""),
			{name: "data/opaque/"}, text("opaque/.wh..wh..opq", ""), text("opaque/new", "x"), text("changed", "after"),
			text(".wh.was-file", ""), {name: "data/was-file/"}, text(".wh.was-dir", ""), text("was-dir", "x"),
			{name: "data/link", sym: "changed"}, text("one", "same"), {name: "data/two", hard: "data/one"},
			{name: "data/special", mode: 0o4750, uid: 1000, gid: 33, data: []byte("x")},
			text("name with spaces and ünïcode", "text"), text("check", check),
		}})...)
}

// damaged is a whole image; that it can't be pulled is the registry's doing.
func (b *builder) damaged(context.Context) (v1.Image, error) {
	data := bytes.Repeat([]byte("these bytes don't arrive as they are\n"), 1000)
	return image(v1.Config{Env: []string{path}, Cmd: []string{"/file"}}, step{"a file", []entry{{name: "file", mode: 0o755, data: data}}})
}

// step is a layer and what it is for.
type step struct {
	what    string
	entries []entry
}

func image(cfg v1.Config, steps ...step) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	var adds []mutate.Addendum
	for _, s := range steps {
		l, err := layer(s.entries...)
		if err != nil {
			return nil, err
		}
		adds = append(adds, mutate.Addendum{Layer: l, MediaType: types.OCILayer,
			History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "vic-lab: " + s.what}})
	}
	img, err := mutate.Append(img, adds...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Created, file.Author = "amd64", "linux", v1.Time{Time: epoch}, "vic-lab"
	file.Config = cfg
	return mutate.ConfigFile(img, file)
}
