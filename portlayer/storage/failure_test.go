package storage_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
)

func sum(b []byte) [32]byte { return sha256.Sum256(b) }

// TestFailedPullLeavesNothing fails every step of a pull in turn, with another
// image in the store that shares a layer.
func TestFailedPullLeavesNothing(t *testing.T) {
	f := newFixture(t)
	base := []string{"base=1"}
	f.pull(f.push("other", base, []string{"o=1"}))
	ref := f.push("app", base, []string{"a=1"}, []string{"b=2"})
	want, images := f.left(), f.List()

	boom := errors.New("boom")
	for step := 1; ; step++ {
		n := 0
		var mu sync.Mutex
		failed := ""
		f.ds.Before = func(_ context.Context, op, path string) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n == step {
				failed = op + " " + path
				return boom
			}
			return nil
		}
		_, _, err := f.Pull(context.Background(), ref, spec.PullOptions{})
		f.ds.Before = nil
		if err == nil {
			if failed != "" {
				t.Errorf("step %d: %s failed and nobody noticed", step, failed)
			}
			if step < 15 {
				t.Errorf("a pull has %d steps", step)
			}
			break
		}
		if !errors.Is(err, boom) {
			t.Errorf("step %d, %s: %v", step, failed, err)
		}
		if diff := cmp.Diff(want, f.left()); diff != "" {
			t.Fatalf("left when step %d fails, %s:\n%s", step, failed, diff)
		}
		if diff := cmp.Diff(images, f.List()); diff != "" || f.folders() != 1 {
			t.Fatalf("step %d, %s:\n%s", step, failed, diff)
		}
	}
	f.restart()
	if len(f.List()) != 2 {
		t.Error("the image is not there after all")
	}
}

// TestCancelledPullLeavesNothing cancels at every step.
func TestCancelledPullLeavesNothing(t *testing.T) {
	f := newFixture(t)
	ref := f.push("app", []string{"a=1"}, []string{"b=2"})
	for step := 1; ; step++ {
		ctx, cancel := context.WithCancel(context.Background())
		n := 0
		var mu sync.Mutex
		f.ds.Before = func(work context.Context, op, path string) error {
			mu.Lock()
			n++
			hit := n == step
			mu.Unlock()
			if hit {
				cancel()
				<-work.Done() // the caller is gone, and so the work must end
				return work.Err()
			}
			return nil
		}
		_, _, err := f.Pull(ctx, ref, spec.PullOptions{})
		cancel()
		f.ds.Before = nil
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Errorf("step %d: %v", step, err)
		}
		if left := f.left(); len(left) != 0 || f.folders() != 0 || len(f.List()) != 0 {
			t.Fatalf("step %d: %q is left", step, left)
		}
	}
}

func TestBadLayersLeaveNothing(t *testing.T) {
	f := newFixture(t)
	notTar := imagetest.Gzip(t, []byte(strings.Repeat("not a tar", 200)))
	wrong := imagetest.Gzip(t, imagetest.Tar(t, "a=1"))
	wrong.DiffID = notTar.DiffID
	damaged := imagetest.Gzip(t, imagetest.Tar(t, "a=1"))
	damaged.Packed = damaged.Packed[:len(damaged.Packed)-9]
	conf := image.Config{}
	conf.OS, conf.Architecture = "linux", "amd64"
	for what, l := range map[string]imagetest.Layer{"not a tar": notTar, "other content": wrong, "damaged": damaged} {
		f.reg.PushImage(t, "bad", "latest", conf, imagetest.Gzip(t, imagetest.Tar(t, "ok=1")), l)
		_, _, err := f.Pull(context.Background(), f.reg.Host()+"/bad", spec.PullOptions{})
		if !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), fmt.Sprintf("sha256:%x", sum(l.Packed))) {
			t.Errorf("%s: %v", what, err)
		}
		if left := f.left(); len(left) != 0 {
			t.Errorf("%s: %q is left", what, left)
		}
	}
}

func TestDatastoreTooSmall(t *testing.T) {
	f := newFixture(t)
	ref := f.push("big", []string{"zeros=" + strings.Repeat("0", 3<<20)}) // packs to almost nothing
	f.ds.Capacity = 1 << 20
	_, _, err := f.Pull(context.Background(), ref, spec.PullOptions{})
	if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "datastore test") || !strings.Contains(err.Error(), "of 1MiB") || !strings.Contains(err.Error(), "needs about 3.") {
		t.Errorf("disk: %v", err)
	}
	if left := f.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
	f.ds.Capacity = 100
	if _, _, err = f.Pull(context.Background(), ref, spec.PullOptions{}); !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "layers need") {
		t.Errorf("layers: %v", err)
	}
}

// TestPullsAreShared starts the same pull twice while the registry waits, and
// lets the first caller go.
func TestPullsAreShared(t *testing.T) {
	f := newFixture(t)
	ref := f.push("app", []string{"a=1"})
	blob := fmt.Sprintf("sha256:%x", sum(imagetest.Gzip(t, imagetest.Tar(t, "a=1")).Packed))
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	f.reg.Misbehave(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, blob) {
			once.Do(func() { close(asked) })
			<-release
		}
		return false
	})
	first, leave := context.WithCancel(context.Background())
	firstErr := make(chan error, 1)
	go func() {
		_, _, err := f.Pull(first, ref, spec.PullOptions{})
		firstErr <- err
	}()
	<-asked
	var w words
	joined := make(chan struct{})
	var joinedOnce sync.Once
	secondErr := make(chan error, 1)
	go func() {
		img, fresh, err := f.Pull(context.Background(), ref, spec.PullOptions{Progress: func(p spec.Progress) {
			joinedOnce.Do(func() { close(joined) })
			w.hear(p)
		}})
		if err == nil && (!fresh || img.ID == "") {
			err = fmt.Errorf("fresh %v, %q", fresh, img.ID)
		}
		secondErr <- err
	}()
	<-joined // it hears what was said before it came
	leave()
	if err := <-firstErr; !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	close(release)
	if err := <-secondErr; err != nil {
		t.Errorf("who stayed: %v", err)
	}
	if n := len(f.reg.Requests("GET /v2/app/blobs/" + blob)); n != 1 {
		t.Errorf("the layer was fetched %d times", n)
	}
	if n := len(f.ds.Calls("ImportDisk")); n != 1 {
		t.Errorf("%d imports", n)
	}
	said := w.of(blob[7:19])
	if len(said) == 0 || said[len(said)-1] != "Pull complete" {
		t.Errorf("progress of the second: %q", said)
	}
}

// TestManyAtOnce pulls images that share layers, deletes and starts, all at once.
func TestManyAtOnce(t *testing.T) {
	f := newFixture(t)
	base := []string{"base=1"}
	var refs []string
	for i := range 6 {
		refs = append(refs, f.push(fmt.Sprintf("app%d", i), base, []string{fmt.Sprintf("f=%d", i)}))
	}
	var wg sync.WaitGroup
	for i, ref := range refs {
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				img, _, err := f.Pull(context.Background(), ref, spec.PullOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if i%2 == 0 {
					if _, err := f.remove(context.Background(), img.ID); err != nil && !errdefs.IsNotFound(err) {
						t.Error(err)
					}
				}
			}()
		}
	}
	wg.Wait()
	for i, ref := range refs {
		img, err := f.Resolve(ref)
		if i%2 == 0 {
			continue // the second puller of a deleted image may have won
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if got := f.file(img.ID, "f"); got != fmt.Sprint(i) {
			t.Errorf("%s has %q", ref, got)
		}
	}
	for _, img := range f.List() {
		if _, err := f.remove(context.Background(), img.ID); err != nil {
			t.Error(err)
		}
	}
	if left := f.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}
