package image_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/klauspost/compress/zstd"

	. "github.com/vic-engine/vic/pkg/image"
)

func TestParseReference(t *testing.T) {
	const d = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for in, want := range map[string][2]string{
		"busybox":                 {"docker.io/library/busybox:latest", "busybox:latest"},
		"a/b:c":                   {"docker.io/a/b:c", "a/b:c"},
		"host:5000/x":             {"host:5000/x:latest", "host:5000/x:latest"},
		"docker.io/library/x:1":   {"docker.io/library/x:1", "x:1"},
		"busybox:1@" + d:          {"docker.io/library/busybox@" + d, "busybox@" + d},
		"index.docker.io/busybox": {"docker.io/library/busybox:latest", "busybox:latest"},
	} {
		n, err := ParseReference(in)
		if err != nil || n.String() != want[0] || Familiar(n.String()) != want[1] {
			t.Errorf("%s is %v (%v)", in, n, err)
		}
	}
	for _, bad := range []string{"", "UPPER", "a b", "x:", "x@sha256:12", "-a", "a//b", d[7:]} {
		if _, err := ParseReference(bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestDecompress(t *testing.T) {
	want := noise(200<<10, 9)
	var gz, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	z, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{g, z} {
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, packed := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zst.Bytes(), "plain": want, "short": []byte("ab"), "empty": nil} {
		r, err := Decompress(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		r.Close()
		expect := want
		if len(packed) < 4 {
			expect = packed
		}
		if err != nil || !bytes.Equal(got, expect) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for name, packed := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zst.Bytes()} {
		damagedBytes := bytes.Clone(packed)
		damagedBytes[len(packed)/2] ^= 0xff
		for what, b := range map[string][]byte{"cut": packed[:len(packed)-20], "damaged": damagedBytes} {
			r, err := Decompress(bytes.NewReader(b))
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				r.Close()
			}
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s %s: %v", what, name, err)
			}
		}
	}
}

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(`{"architecture":"amd64","os":"linux","config":{"Env":["A=1"],"Cmd":["sh"],"Healthcheck":{"Test":["NONE"]}},"rootfs":{"type":"layers","diff_ids":[]}}`))
	if err != nil || c.Config.Env[0] != "A=1" || c.Config.Healthcheck == nil || c.Architecture != "amd64" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "[]", `{}`, `{"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}`} {
		if _, err := ParseConfig([]byte(bad)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"busybox", "host:5000/a/b:c@sha256:aa", "docker.io/library/x:1", "[::1]:5/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseReference(s)
		if err != nil {
			return
		}
		if reference.IsNameOnly(n) {
			t.Fatalf("%q has neither tag nor digest", s)
		}
		again, err := ParseReference(Familiar(n.String()))
		if err != nil || again.String() != n.String() {
			t.Fatalf("%q: %v, as Docker prints it %v (%v)", s, n, again, err)
		}
	})
}
