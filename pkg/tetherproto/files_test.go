package tetherproto

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("hung up") }

// TestDeflatedKeepsWhatCame: what was sent before a client hung up arrives, and it
// shows that it was not all.
func TestDeflatedKeepsWhatCame(t *testing.T) {
	sent := strings.Repeat("what came", 1000)
	in := deflated(io.MultiReader(strings.NewReader(sent), failing{}))
	defer in.Close()
	raw, err := io.ReadAll(in)
	if err == nil {
		t.Error("no error though the input had one")
	}
	got, err := io.ReadAll(flate.NewReader(bytes.NewReader(raw)))
	if string(got) != sent || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes of %d arrive, then %v", len(got), len(sent), err)
	}
	raw, err = io.ReadAll(deflated(strings.NewReader(sent)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err = io.ReadAll(flate.NewReader(bytes.NewReader(raw))); string(got) != sent || err != nil {
		t.Errorf("%d bytes of %d arrive, then %v", len(got), len(sent), err)
	}
}

func TestReadStat(t *testing.T) {
	for _, tt := range []struct {
		text string
		ok   bool
	}{
		{`{"name":"a","size":3,"mode":420,"mtime":"2026-01-02T03:04:05Z","linkTarget":""}` + "\n", true},
		{`{"name":"a"}` + "\nmore", true},
		{`{"name":""}` + "\n", false},
		{`{"name":"a","size":-1}` + "\n", false},
		{`{"name":3}` + "\n", false},
		{`{"name":"` + strings.Repeat("x", maxLine) + `"}` + "\n", false},
		{"", false},
	} {
		if _, err := readStat(bufio.NewReader(strings.NewReader(tt.text))); (err == nil) != tt.ok {
			t.Errorf("%.40q: %v", tt.text, err)
		}
	}
}

func TestReadChanges(t *testing.T) {
	list, err := readChanges(strings.NewReader(`{"path":"/a","kind":2}` + "\n" + `{"path":"/b","kind":0}` + "\n"))
	if err != nil || len(list) != 2 || list[0] != (spec.FileChange{Path: "/a", Kind: spec.FileDeleted}) {
		t.Errorf("%v %v", list, err)
	}
	for _, bad := range []string{`{"path":"a"}`, `{"path":"/a","kind":3}`, `[1]`, `{"path":`, `{}`} {
		if list, err := readChanges(strings.NewReader(bad)); err == nil {
			t.Errorf("%s is %v", bad, list)
		}
	}
	if _, err := readChanges(io.MultiReader(strings.NewReader(`{"path":"/`), endless('x'))); !errdefs.IsResourceExhausted(err) {
		t.Errorf("a list without end: %v", err)
	}
}

type endless byte

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

// FuzzGuestFiles: what a guest sends of its files is read without harm.
func FuzzGuestFiles(f *testing.F) {
	var b bytes.Buffer
	_ = tar.NewWriter(&b).Close()
	f.Add([]byte(`{"name":"a","size":3,"mode":420}` + "\n" + b.String()))
	f.Add([]byte(`{"path":"/a","kind":1}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if st, err := readStat(bufio.NewReader(bytes.NewReader(text))); err == nil && (st.Name == "" || st.Size < 0) {
			t.Errorf("stat %+v", st)
		}
		list, err := readChanges(bytes.NewReader(text))
		for _, c := range list {
			if err == nil && !strings.HasPrefix(c.Path, "/") {
				t.Errorf("change %+v", c)
			}
		}
	})
}
