package storage_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
	"github.com/vic-engine/vic/portlayer/storage/storagetest"
)

// BenchmarkPull178MB pulls an image of 178 MB in four gzipped layers from a
// registry on this machine to a datastore in a folder: all of a pull but
// vSphere's own part.
func BenchmarkPull178MB(b *testing.B) {
	reg := imagetest.Start(b)
	rnd := rand.New(rand.NewSource(1))
	noise := make([]byte, 1<<20)
	rnd.Read(noise[:len(noise)/2])
	var ls []imagetest.Layer
	total := int64(0)
	for l := range 4 {
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		for i := range 1675 {
			size := min(int64(rnd.ExpFloat64()*26500), 1<<19)
			h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("usr/l%d/d%02d/f%04d", l, i%40, i), Mode: 0o644, Size: size, ModTime: time.Unix(1e9, 0)}
			if err := w.WriteHeader(h); err != nil {
				b.Fatal(err)
			}
			off := rnd.Intn(len(noise) / 2)
			if _, err := w.Write(noise[off : int64(off)+size]); err != nil {
				b.Fatal(err)
			}
			total += size
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		ls = append(ls, imagetest.Gzip(b, buf.Bytes()))
	}
	conf := image.Config{}
	conf.OS, conf.Architecture = "linux", "amd64"
	reg.PushImage(b, "big", "latest", conf, ls...)
	log := logrus.New()
	log.SetOutput(io.Discard)
	client, err := image.NewClient(image.ClientConfig{Log: logrus.NewEntry(log)})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	b.SetBytes(total)
	for b.Loop() {
		s, err := storage.New(storage.Config{Datastore: storagetest.NewDir(b.TempDir()), ImageStore: "[test]", VCH: "u", Spool: b.TempDir(), Client: client, Log: logrus.NewEntry(log)})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Load(context.Background()); err != nil {
			b.Fatal(err)
		}
		if _, _, err := s.Pull(context.Background(), reg.Host()+"/big", spec.PullOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
