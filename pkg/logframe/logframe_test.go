package logframe

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

// sample writes a short run and gives the file and what is in it.
func sample(t testing.TB, run uint64) ([]byte, []Frame) {
	t.Helper()
	var file bytes.Buffer
	var frames []Frame
	see := func(f Frame) { f.Data = bytes.Clone(f.Data); frames = append(frames, f) }
	w := NewWriter(&file, run)
	at := time.Unix(1700000000, 123456789)
	w.now = func() time.Time { at = at.Add(time.Millisecond); return at }
	for _, err := range []error{
		w.Mark(KindStart, see),
		w.Write(spec.Stdout, []byte("out\n"), see),
		w.Write(spec.Stderr, []byte("err "+magic+"\n"), see),
		w.Write(spec.Stdout, bytes.Repeat([]byte("x"), MaxData+5), see),
		w.Mark(KindEnd, see),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes(), frames
}

func readAll(t testing.TB, r *Reader) []Frame {
	t.Helper()
	var got []Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, f)
	}
}

// diff is cmp.Diff, which is slow on long data, only when there is a difference.
func diff(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got)
}

func TestRoundTrip(t *testing.T) {
	file, want := sample(t, 7)
	if len(want) != 6 || want[5].Seq != 5 {
		t.Fatalf("frames: %v", want)
	}
	r := NewReader(iotest.OneByteReader(bytes.NewReader(file)))
	if d := diff(want, readAll(t, r)); d != "" {
		t.Error(d)
	}
	if r.Skipped() != 0 || r.Offset() != int64(len(file)) {
		t.Errorf("skipped %d, offset %d of %d", r.Skipped(), r.Offset(), len(file))
	}
}

func TestEveryTear(t *testing.T) {
	first, a := sample(t, 1)
	second, b := sample(t, 2)
	small := first[:headerSize*3+30] // start, out, part of err
	for cut := range len(small) {
		file := append(bytes.Clone(small[:cut]), second...)
		got := readAll(t, NewReader(bytes.NewReader(file)))
		if len(got) < len(b) {
			t.Fatalf("cut at %d: %d frames", cut, len(got))
		}
		head := got[:len(got)-len(b)]
		if d := diff(b, got[len(head):]); d != "" {
			t.Fatalf("cut at %d: %s", cut, d)
		}
		if len(head) > 0 {
			if d := diff(a[:len(head)], head); d != "" {
				t.Fatalf("cut at %d: %s", cut, d)
			}
		}
	}
}

func TestReadingGoesOnAtOffset(t *testing.T) {
	file, want := sample(t, 3)
	for _, step := range []int{1, 997, 5000} {
		var got []Frame
		off := int64(0)
		for end := 0; end <= len(file)+step; end += step {
			r := NewReaderAt(bytes.NewReader(file[off:min(end, len(file))][:max(0, min(end, len(file))-int(off))]), off)
			if int64(min(end, len(file))) < off {
				continue
			}
			got = append(got, readAll(t, r)...)
			off = r.Offset()
			if step == 1 && end > 2000 {
				break
			}
		}
		if step == 1 {
			got, want := got, want[:len(got)]
			if d := diff(want, got); d != "" || len(got) < 3 {
				t.Fatalf("step %d: %s", step, d)
			}
			continue
		}
		if d := diff(want, got); d != "" {
			t.Fatalf("step %d: %d frames of %d", step, len(got), len(want))
		}
	}
}

func TestReadingFromTheMiddle(t *testing.T) {
	file, want := sample(t, 4)
	r := NewReaderAt(bytes.NewReader(file[10:]), 10)
	got := readAll(t, r)
	if d := diff(want[1:], got); d != "" {
		t.Error(d)
	}
	if r.Skipped() != headerSize-10 {
		t.Errorf("skipped %d", r.Skipped())
	}
}

func TestErrorOfTheFileIsNotTheEnd(t *testing.T) {
	bad := errors.New("datastore gone")
	file, _ := sample(t, 5)
	r := NewReader(io.MultiReader(bytes.NewReader(file[:50]), iotest.ErrReader(bad)))
	_, _ = r.Next()
	if _, err := r.Next(); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	w := NewWriter(iotestWriter{bad}, 1)
	if err := w.Write(spec.Stdout, []byte("x"), nil); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
}

type iotestWriter struct{ err error }

func (w iotestWriter) Write([]byte) (int, error) { return 0, w.err }

func TestLines(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	var got []string
	l := NewLines(func(e spec.LogEntry) error {
		text := string(e.Data)
		if len(text) > 20 {
			text = text[:3] + "…"
		}
		got = append(got, strings.Join([]string{[]string{"", "out", "err"}[e.Stream], e.Time.UTC().Format("05"), text}, " "))
		return nil
	})
	data := func(s spec.Stream, sec int, text string) {
		if err := l.Add(Frame{Kind: KindData, Stream: s, Time: at(sec), Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	data(spec.Stdout, 1, "a")
	data(spec.Stderr, 2, "e1\ne2")
	data(spec.Stdout, 3, "b\nc\n\nd")
	data(spec.Stdout, 4, strings.Repeat("L", MaxLine))
	if err := l.Add(Frame{Kind: KindEnd}); err != nil {
		t.Fatal(err)
	}
	want := []string{"err 02 e1\n", "out 01 ab\n", "out 03 c\n", "out 03 \n", "out 03 dLL…", "out 04 L", "err 02 e2"}
	if d := diff(want, got); d != "" {
		t.Error(d)
	}
}

func FuzzReader(f *testing.F) {
	file, _ := sample(f, 9)
	f.Add(file[:200])
	f.Add([]byte(magic + magic))
	tail, want := sample(f, 11)
	f.Fuzz(func(t *testing.T, junk []byte) {
		r := NewReader(bytes.NewReader(append(bytes.Clone(junk), tail...)))
		got := readAll(t, r)
		if r.Offset() != int64(len(junk)+len(tail)) {
			t.Fatalf("offset %d of %d", r.Offset(), len(junk)+len(tail))
		}
		if len(got) < len(want) || !reflect.DeepEqual(want, got[len(got)-len(want):]) {
			t.Fatalf("frames after junk were lost: %d", len(got))
		}
	})
}
