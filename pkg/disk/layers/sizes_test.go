package layers

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
)

// sparse is a tar of files that say that they have size bytes, and have none: a
// sparse file's map of its data, in PAX 1.0, is empty.
func sparse(t *testing.T, size string, files int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := make([]byte, 512)
	copy(content, "1\n0\n0\n")
	for i := range files {
		// The package writes no records of its own name space.
		h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("f%d", i), Size: 512, Format: tar.FormatPAX, PAXRecords: map[string]string{
			"GNU?sparse.major": "1", "GNU?sparse.minor": "0", "GNU?sparse.name": fmt.Sprintf("f%d", i), "GNU?sparse.realsize": size,
		}}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.ReplaceAll(b.Bytes(), []byte("GNU?sparse"), []byte("GNU.sparse"))
}

// TestSizesThatAreNone: files that say more than there can be are refused, however
// many, before anything is written.
func TestSizesThatAreNone(t *testing.T) {
	for _, c := range []struct {
		size  string
		files int
		is    func(error) bool
	}{
		{"4611686018427387904", 3, errdefs.IsInvalidArgument}, // together more than a number holds
		{"17592186044417", 1, errdefs.IsInvalidArgument},
		{"17592186044416", 1, errdefs.IsResourceExhausted}, // by the limit
	} {
		_, err := Merge(context.Background(), layersOf(sparse(t, c.size, c.files)), Limits{Bytes: 1 << 30})
		if !c.is(err) {
			t.Errorf("%d of %s bytes: %v", c.files, c.size, err)
		}
	}
	tree, err := Merge(context.Background(), layersOf(sparse(t, "4096", 2)), Limits{Bytes: 1 << 30})
	if err != nil || tree.Usage().Bytes != 8192 {
		t.Errorf("%+v, %v", tree, err)
	}
}
