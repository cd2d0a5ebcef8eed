package nfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/containerd/errdefs"
)

// record is one record in fragments of at most n bytes.
func record(b []byte, n int) []byte {
	var out []byte
	for {
		part := b[:min(n, len(b))]
		b = b[len(part):]
		mark := uint32(len(part))
		if len(b) == 0 {
			mark |= 1 << 31
		}
		out = append(binary.BigEndian.AppendUint32(out, mark), part...)
		if len(b) == 0 {
			return out
		}
	}
}

func TestReadRecord(t *testing.T) {
	want := bytes.Repeat([]byte("abc"), 1000)
	for _, n := range []int{1, 7, 5000} {
		if got, err := readRecord(bytes.NewReader(record(want, n))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("fragments of %d: %d bytes, %v", n, len(got), err)
		}
	}
	for name, raw := range map[string][]byte{"cut off": record(want, 100)[:50], "huge": {0xff, 0xff, 0xff, 0xff}, "endless": {0, 0, 0, 0}} {
		if got, err := readRecord(bytes.NewReader(raw)); err == nil {
			t.Errorf("%s: %d bytes", name, len(got))
		}
	}
}

// answers is a server that says to every request what b is.
func answers(t *testing.T, b []byte) *session {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	go func() {
		for {
			q, err := readRecord(there)
			if err != nil || len(q) < 4 {
				return
			}
			reply := append(append([]byte(nil), q[:4]...), 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			if _, err := there.Write(record(append(reply, b...), 1<<20)); err != nil {
				return
			}
		}
	}()
	return &session{ctx: context.Background(), w: newWire(here, 0, 0), root: []byte{1}}
}

// FuzzReplies gives what a server says to all that reads it: errors, not panics,
// and an end.
func FuzzReplies(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 2})
	var dir encoder
	dir.u32(0).u32(0).u64(7).u32(1).u64(1).text("name").u64(1).u32(0).u32(0).u32(0).u32(1)
	f.Add(dir.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s := answers(t, b)
		if fh, _, err := s.lookup(s.root, "x"); err == nil && len(fh) > maxHandle {
			t.Error("a handle that is too long")
		}
		if list, err := s.readDir(s.root, 10); err == nil && len(list) > 10 {
			t.Error("more than were asked for")
		}
		if data, err := s.read(s.root, 100); err == nil && len(data) > 100 {
			t.Error("more than was asked for")
		}
		_ = s.write(s.root, []byte("data"))
		_, _, _ = s.space()
	})
}

func FuzzReply(f *testing.F) {
	f.Add(record([]byte("\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 9))
	f.Fuzz(func(t *testing.T, b []byte) {
		raw, err := readRecord(bytes.NewReader(b))
		if err != nil {
			return
		}
		if d, err := parseReply(raw, 1); err == nil && len(d.b) > len(raw) {
			t.Error("more than there was")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("nfs://host/path?uid=1&gid=2&port=3&mountport=4")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Error(err)
			}
			return
		}
		if again, err := Parse(s.String()); err != nil || again != s {
			t.Errorf("%q: %+v, %q, %+v, %v", text, s, s.String(), again, err)
		}
		if host, dir, err := SplitSource(s.Source("")); err != nil || host != s.Host || dir != s.Path {
			t.Errorf("%q: %q, %q, %v", s.Source(""), host, dir, err)
		}
	})
}

// A reply to somebody else's request ends the connection.
func TestWrongReply(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	go func() {
		if _, err := readRecord(there); err == nil {
			_, _ = io.Copy(there, bytes.NewReader(record(make([]byte, 24), 100)))
		}
	}()
	if _, err := newWire(here, 0, 0).call(t.Context(), progNFS, versNFS, procLookup, nil); !errdefs.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
}
