package storage_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/disk/ext4/ext4test"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
	"github.com/vic-engine/vic/portlayer/storage/storagetest"
)

var _ engine.Images = (*storage.Images)(nil)

const root = "[test] VIC/uuid-1"

// fixture is a store on a folder, with a registry to pull from.
type fixture struct {
	*storage.Images
	t     *testing.T
	ds    *storagetest.Dir
	reg   *imagetest.Registry
	spool string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, ds: storagetest.NewDir(t.TempDir()), reg: imagetest.Start(t), spool: t.TempDir()}
	f.restart()
	return f
}

// restart makes a new store on the same datastore.
func (f *fixture) restart() {
	f.t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	client, err := image.NewClient(image.ClientConfig{Log: logrus.NewEntry(log), Attempts: 2, Backoff: func(int) time.Duration { return 0 }})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(client.Close)
	f.Images, err = storage.New(storage.Config{
		Datastore: f.ds, ImageStore: "[test]", VCH: "uuid-1", Spool: f.spool, Client: client, Log: logrus.NewEntry(log),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.Load(context.Background()); err != nil {
		f.t.Fatal(err)
	}
}

// push makes an image of gzipped layers; each is a list of imagetest.Tar lines.
func (f *fixture) push(repo string, layers ...[]string) string {
	f.t.Helper()
	var ls []imagetest.Layer
	for _, l := range layers {
		ls = append(ls, imagetest.Gzip(f.t, imagetest.Tar(f.t, l...)))
	}
	conf := image.Config{}
	conf.OS, conf.Architecture = "linux", "amd64"
	conf.Config.Cmd = []string{"/" + repo}
	created := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	conf.Created = &created
	f.reg.PushImage(f.t, repo, "latest", conf, ls...)
	return f.reg.Host() + "/" + repo + ":latest"
}

func (f *fixture) pull(ref string) spec.Image {
	f.t.Helper()
	img, _, err := f.Pull(context.Background(), ref, spec.PullOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return img
}

// file reads a file from an image's disk.
func (f *fixture) file(id, name string) string {
	f.t.Helper()
	path, err := f.Disk(context.Background(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	r, done, err := f.ds.Disk(path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer done()
	b, err := ext4test.ReadFile(r, name)
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b)
}

// remove deletes an image with all names that it has.
func (f *fixture) remove(ctx context.Context, id string) ([]string, error) {
	img, err := f.Resolve(id)
	if err != nil {
		return nil, err
	}
	return f.Delete(ctx, id, append(img.RepoTags, img.RepoDigests...)...)
}

// left are all files of the datastore but the names, and of the spool.
func (f *fixture) left() []string {
	f.t.Helper()
	all, err := f.ds.Files()
	if err != nil {
		f.t.Fatal(err)
	}
	out := []string{}
	for _, p := range all {
		if !strings.HasSuffix(p, "/repositories.json") {
			out = append(out, strings.TrimPrefix(p, root+"/"))
		}
	}
	spooled, err := filepath.Glob(f.spool + "/*")
	if err != nil {
		f.t.Fatal(err)
	}
	sort.Strings(out)
	return append(out, spooled...)
}

// folders are those of images.
func (f *fixture) folders() int {
	f.t.Helper()
	entries, err := f.ds.List(context.Background(), root+"/images")
	if err != nil {
		f.t.Fatal(err)
	}
	return len(entries)
}

// words collects progress as "id status", repeated ones once.
type words struct {
	mu   sync.Mutex // guards said
	said []string
}

func (w *words) hear(p spec.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := p.ID + " " + p.Status
	if n := len(w.said); n == 0 || w.said[n-1] != s {
		w.said = append(w.said, s)
	}
}

// of gives what was said of one id, in order.
func (w *words) of(id string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, s := range w.said {
		if rest, ok := strings.CutPrefix(s, id+" "); ok && (len(out) == 0 || out[len(out)-1] != rest) {
			out = append(out, rest)
		}
	}
	return out
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}
