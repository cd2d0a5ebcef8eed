package builder

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestLocalContexts(t *testing.T) {
	images := map[string]string{
		"docker.io/library/app:latest": "sha256:a", "docker.io/library/app:1": "sha256:b", "docker.io/me/app:latest": "sha256:c", "reg:5000/x:latest": "sha256:d",
	}
	at := func(d string) string { return "oci-layout://vic-images@sha256:" + d }
	always := map[string]string{"context:app:1": at("b"), "context:me/app": at("c"), "context:reg:5000/x": at("d")}
	all := map[string]string{"context:app": at("a"), "context:app:1": at("b"), "context:me/app": at("c"), "context:reg:5000/x": at("d")}
	some := map[string]string{"context:app": at("a"), "context:me/app": at("c"), "context:reg:5000/x": at("d")}
	for _, c := range []struct {
		what   string
		attrs  map[string]string
		stages map[string]bool
		want   map[string]string
	}{
		{"stages unknown", nil, nil, always},
		{"other stages", nil, map[string]bool{"base": true}, all},
		{"no stages", nil, map[string]bool{}, all},
		{"a stage of that name", nil, map[string]bool{"app": true}, always},
		{"the client's own", map[string]string{"context:app:1": "local:x"}, map[string]bool{}, some},
		{"--pull", map[string]string{"image-resolve-mode": "pull"}, map[string]bool{}, nil},
	} {
		if d := cmp.Diff(c.want, localContexts(images, c.attrs, c.stages)); d != "" {
			t.Errorf("%s: %s", c.what, d)
		}
	}
}

// tarOf has a Dockerfile of that text after a file of size bytes.
func tarOf(t testing.TB, name, text string, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		body []byte
	}{{"./A", make([]byte, size)}, {name, []byte(text)}, {"z", []byte("z")}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Size: int64(len(f.body)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPeekStages(t *testing.T) {
	const text = "ARG V=1\nFROM app:$V AS One\nFROM one\nFROM app as two\nRUN x\n"
	two := map[string]bool{"one": true, "two": true}
	for _, c := range []struct {
		what, name string
		context    []byte
		want       map[string]bool
	}{
		{"plain", "", tarOf(t, "Dockerfile", text, 1), two},
		{"packed", "", packed(t, tarOf(t, "./Dockerfile", text, 1)), two},
		{"elsewhere", "./d/../d/F", tarOf(t, "d/F", text, 1), two},
		{"without names", "", tarOf(t, "Dockerfile", "FROM app\n", 1), map[string]bool{}},
		{"not there", "other", tarOf(t, "Dockerfile", text, 1), nil},
		{"too far", "", tarOf(t, "Dockerfile", text, maxPeek), nil},
		{"no Dockerfile", "", tarOf(t, "Dockerfile", "BAKE cake\n", 1), nil},
		{"cut", "", tarOf(t, "Dockerfile", text, 1)[:1100], nil},
		{"no tar", "", []byte("x"), nil},
		{"empty", "", nil, nil},
	} {
		got, whole := peekStages(bytes.NewReader(c.context), c.name)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.what, d)
		}
		if b, err := io.ReadAll(whole); err != nil || !bytes.Equal(b, c.context) {
			t.Errorf("%s: %d bytes of the context are left, want %d, %v", c.what, len(b), len(c.context), err)
		}
	}
}

func FuzzPeekStages(f *testing.F) {
	f.Add(tarOf(f, "Dockerfile", "FROM a AS b\nRUN <<EOF\nx\nEOF\n", 0))
	f.Add(packed(f, tarOf(f, "Dockerfile", "# escape=`\nFROM a AS b\n", 0)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, whole := peekStages(bytes.NewReader(b), "Dockerfile")
		if got, err := io.ReadAll(whole); err != nil || !bytes.Equal(got, b) {
			t.Errorf("the context changed: %v", err)
		}
	})
}

func FuzzStagesOf(f *testing.F) {
	f.Add([]byte("ARG V\nFROM a:$V AS b\nCOPY --from=b x y\nHEALTHCHECK NONE\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		stages, err := stagesOf(b)
		for s := range stages {
			if err != nil || s == "" || s != strings.ToLower(s) {
				t.Errorf("stage %q, %v", s, err)
			}
		}
	})
}

func FuzzParseStages(f *testing.F) {
	f.Add(stagesResponse("a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if stages, err := parseStages(b); err != nil && stages != nil {
			t.Errorf("%v and %v", stages, err)
		}
	})
}

func stagesResponse(name string) []byte {
	result := appendMap(nil, fieldMetadata, map[string]string{"result.json": fmt.Sprintf(`{"targets":[{"name":%q},{"default":true}]}`, name)})
	return protowire.AppendBytes(protowire.AppendTag(nil, fieldResult, protowire.BytesType), result)
}

// readBlob asks a session for a blob as buildkitd does.
func readBlob(ctx context.Context, cc *grpc.ClientConn, store, digest string, offset, size uint64) (whole int64, text string, err error) {
	ctx = metadata.AppendToOutgoingContext(ctx, keyStore, store)
	in := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), digest)
	var out frame
	if err := cc.Invoke(ctx, methodContentInfo, &frame{in}, &out, grpc.ForceCodecV2(frames{})); err != nil {
		return 0, "", err
	}
	info, err := stringField(out.data, 1)
	if err != nil {
		return 0, "", err
	}
	if whole, err = intField([]byte(info), 2); err != nil {
		return 0, "", err
	}
	in = protowire.AppendVarint(protowire.AppendTag(in, 2, protowire.VarintType), offset)
	in = protowire.AppendVarint(protowire.AppendTag(in, 3, protowire.VarintType), size)
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, methodContentRead, grpc.ForceCodecV2(frames{}))
	if err == nil {
		err = errors.Join(s.SendMsg(&frame{in}), s.CloseSend())
	}
	for err == nil {
		if err = s.RecvMsg(&out); err == nil {
			piece, _ := stringField(out.data, 2)
			text += piece
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return whole, text, err
}

// buildkitd reads the store's blobs by a client's session, and no other store's.
func TestBlobsBySession(t *testing.T) {
	f := newFixture(t)
	blob := strings.Repeat("0123456789", 20<<10) // more than one message
	f.local, f.blobs = map[string]string{"docker.io/library/app:1": "sha256:m"}, map[string]string{"sha256:m": blob}
	c := newClient(t, f.use(t), "s1")
	if _, err := c.Info(t.Context(), &control.InfoRequest{}); err != nil { // its other connection is in use too
		t.Fatal(err)
	}
	cc, err := f.d.session(t.Context(), "s1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ offset, size uint64 }{{0, 0}, {0, 10}, {5, 100 << 10}, {199 << 10, 0}, {199 << 10, 1 << 20}, {200 << 10, 1}} {
		end := min(uint64(len(blob)), c.offset+c.size)
		if c.size == 0 {
			end = uint64(len(blob))
		}
		whole, got, err := readBlob(t.Context(), cc, "oci:vic-images", "sha256:m", c.offset, c.size)
		if err != nil || whole != int64(len(blob)) || got != blob[c.offset:end] {
			t.Errorf("%v: %d bytes of %d, %v", c, len(got), whole, err)
		}
	}
	if _, _, err := readBlob(t.Context(), cc, "oci:vic-images", "sha256:m", uint64(len(blob))+1, 1); status.Code(err) != codes.OutOfRange {
		t.Errorf("behind the end: %v", err)
	}
	if _, _, err := readBlob(t.Context(), cc, "oci:vic-images", "sha256:other", 0, 0); status.Code(err) != codes.NotFound {
		t.Errorf("a blob that is not there: %v", err)
	}
	if _, _, err := readBlob(t.Context(), cc, "oci:mine", "sha256:m", 0, 0); status.Code(err) != codes.Unimplemented {
		t.Errorf("a client's own store: %v", err)
	}
}

// A classic build gets the images that only the store has.
func TestClassicBuildFromLocal(t *testing.T) {
	f := newFixture(t)
	f.local = map[string]string{"docker.io/library/app:latest": "sha256:m", "docker.io/library/one:latest": "sha256:n"}
	u := f.use(t)
	sent := tarOf(t, "Dockerfile", "FROM app AS one\n", 1)
	if _, err := u.Build(t.Context(), Options{Context: bytes.NewReader(sent)}, func(*control.StatusResponse) {}); err != nil {
		t.Fatal(err)
	}
	got := f.d.solves[0].FrontendAttrs
	if _, ok := got["context:one"]; ok || got["context:app"] != "oci-layout://vic-images@sha256:m" {
		t.Errorf("attributes %v", got)
	}
	if f.d.contexts[0] != string(sent) {
		t.Error("the context is not what was sent")
	}
}

// A client that stops sending its context can cancel.
func TestCancelWhilePeeking(t *testing.T) {
	f := newFixture(t)
	f.local = map[string]string{"docker.io/library/app:latest": "sha256:m"}
	u := f.use(t)
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _ = w.Write([]byte("x")); cancel() }()
	if _, err := u.Build(ctx, Options{Context: r}, func(*control.StatusResponse) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// buildx's solve of the Dockerfile's frontend gets them too, once the stages are known.
func TestFrontendSolveFromLocal(t *testing.T) {
	f := newFixture(t)
	c := newClient(t, f.use(t), "s1")
	solve := func(frontend string, attrs map[string]string) map[string]string {
		t.Helper()
		in := protowire.AppendString(protowire.AppendTag(nil, fieldFrontend, protowire.BytesType), frontend)
		var out frame
		if err := c.cc.Invoke(t.Context(), methodFrontendSolve, &frame{appendMap(in, fieldFrontendOpt, attrs)}, &out, grpc.ForceCodecV2(frames{})); err != nil {
			t.Fatal(err)
		}
		got, err := mapField(f.d.frontendSolves[len(f.d.frontendSolves)-1], fieldFrontendOpt)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	target := map[string]string{"target": "t"}
	if d := cmp.Diff(target, solve("dockerfile.v0", target)); d != "" || len(f.d.frontendSolves) != 1 {
		t.Errorf("an empty store: %s, %d calls", d, len(f.d.frontendSolves))
	}
	f.local = map[string]string{"docker.io/library/app:latest": "sha256:m", "docker.io/library/one:latest": "sha256:n"}
	want := map[string]string{"target": "t", "context:app": "oci-layout://vic-images@sha256:m"}
	if d := cmp.Diff(want, solve("dockerfile.v0", target)); d != "" || len(f.d.frontendSolves) != 3 {
		t.Errorf("%s, %d calls", d, len(f.d.frontendSolves))
	}
	if d := cmp.Diff(target, solve("other.v0", target)); d != "" {
		t.Errorf("another frontend: %s", d)
	}
	outline := map[string]string{attrRequest: "frontend.outline"}
	if d := cmp.Diff(outline, solve("dockerfile.v0", outline)); d != "" {
		t.Errorf("a request: %s", d)
	}
}
