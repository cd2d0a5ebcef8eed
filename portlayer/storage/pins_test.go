package storage_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestLoadWhileRemoved: the image whose layers a load finds in the store goes while
// the load is under way. It keeps what it has found.
func TestLoadWhileRemoved(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	base := []string{"base=1"}
	both := f.pull(f.push("both", base, []string{"top=1"}))
	var archive bytes.Buffer
	if err := f.SaveArchive(ctx, []string{both.ID}, spec.SaveOptions{}, &archive); err != nil {
		t.Fatal(err)
	}
	if _, err := f.remove(ctx, both.ID); err != nil {
		t.Fatal(err)
	}
	f.pull(f.push("one", base))
	gone := false
	err := f.LoadArchive(ctx, &archive, spec.LoadOptions{Progress: func(spec.Progress) {
		if gone {
			return
		}
		gone = true
		one, err := f.Resolve(f.reg.Host() + "/one")
		if err == nil {
			_, err = f.remove(ctx, one.ID)
		}
		if err != nil {
			t.Error(err)
		}
	}})
	if err != nil || !gone {
		t.Fatalf("%v; removed meanwhile: %v", err, gone)
	}
	if f.file(both.ID, "base") != "1" || f.file(both.ID, "top") != "1" {
		t.Error("its files are others")
	}
	if err := f.SaveArchive(ctx, []string{both.ID}, spec.SaveOptions{}, io.Discard); err != nil {
		t.Errorf("save: %v", err)
	}
	if _, err := f.remove(ctx, both.ID); err != nil {
		t.Fatal(err)
	}
	if left := f.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}

// TestSaveOfAnImageThatGoes: the image goes at the first byte, and is whole in the
// archive all the same; its blobs go after it.
func TestSaveOfAnImageThatGoes(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	img := f.pull(f.push("app", []string{"a=1"}, []string{"b=1"}))
	var archive bytes.Buffer
	gone := false
	err := f.SaveArchive(ctx, []string{img.ID}, spec.SaveOptions{}, writerFunc(func(p []byte) (int, error) {
		if !gone {
			gone = true
			if _, err := f.remove(ctx, img.ID); err != nil {
				return 0, err
			}
		}
		return archive.Write(p)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if left := f.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
	if err := f.LoadArchive(ctx, &archive, spec.LoadOptions{}); err != nil || f.file(img.ID, "b") != "1" {
		t.Errorf("load: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }
