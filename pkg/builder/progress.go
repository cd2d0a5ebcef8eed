package builder

import (
	"bytes"
	"fmt"
	"strings"

	control "github.com/moby/buildkit/api/services/control"
)

// Text turns what buildkitd says of a build into lines for people, as
// `docker build --progress plain` has them: "#3 [2/2] RUN make", "#3 0.412 output",
// "#3 DONE 1.2s". A step is named when it begins, and output of parallel steps is
// told apart by the number.
type Text struct {
	steps map[string]*step
	count int
}

// maxSteps is how many steps of a build are told of: what buildkitd sends is kept in
// memory, and it runs what others wrote.
const maxSteps = 10_000

type step struct {
	number    int
	name      string
	partial   []byte // a line that is not whole yet
	ended     bool
	startedAt float64 // seconds since the epoch; 0: not started
}

// Add gives the lines for one report.
func (t *Text) Add(m *control.StatusResponse) string {
	if t.steps == nil {
		t.steps = map[string]*step{}
	}
	var out strings.Builder
	for _, v := range m.Vertexes {
		t.vertex(&out, v)
	}
	for _, l := range m.Logs {
		s := t.steps[l.Vertex]
		if s == nil {
			continue
		}
		at := 0.0
		if l.Timestamp != nil && s.startedAt > 0 {
			at = max(0, seconds(l.Timestamp.AsTime().UnixNano())-s.startedAt)
		}
		s.log(&out, l.Msg, at)
	}
	for _, w := range m.Warnings {
		fmt.Fprintf(&out, "WARN: %s\n", w.Short)
	}
	return out.String()
}

func seconds(nano int64) float64 { return float64(nano) / 1e9 }

func (t *Text) vertex(out *strings.Builder, v *control.Vertex) {
	s := t.steps[v.Digest]
	if s == nil {
		if v.Started == nil && !v.Cached && v.Error == "" {
			return // waits for others
		}
		if t.count == maxSteps {
			return
		}
		t.count++
		s = &step{number: t.count, name: v.Name}
		t.steps[v.Digest] = s
		fmt.Fprintf(out, "#%d %s\n", s.number, v.Name)
	}
	if v.Started != nil && s.startedAt == 0 {
		s.startedAt = seconds(v.Started.AsTime().UnixNano())
	}
	if s.ended {
		return
	}
	switch {
	case v.Error != "":
		s.flush(out)
		fmt.Fprintf(out, "#%d ERROR: %s\n", s.number, v.Error)
	case v.Cached:
		fmt.Fprintf(out, "#%d CACHED\n", s.number)
	case v.Completed != nil:
		s.flush(out)
		fmt.Fprintf(out, "#%d DONE %.1fs\n", s.number, max(0, seconds(v.Completed.AsTime().UnixNano())-s.startedAt))
	default:
		return
	}
	s.ended = true
}

// maxLine is how much of a line without an end is kept back, in bytes.
const maxLine = 16 << 10

// log writes whole lines; the rest of msg waits for its end.
func (s *step) log(out *strings.Builder, msg []byte, at float64) {
	s.partial = append(s.partial, msg...)
	for {
		line, rest, ok := bytes.Cut(s.partial, []byte("\n"))
		if !ok {
			if len(s.partial) > maxLine {
				s.flush(out)
			}
			return
		}
		fmt.Fprintf(out, "#%d %.3f %s\n", s.number, at, bytes.TrimSuffix(line, []byte("\r")))
		s.partial = rest
	}
}

func (s *step) flush(out *strings.Builder) {
	if len(s.partial) > 0 {
		fmt.Fprintf(out, "#%d %s\n", s.number, s.partial)
		s.partial = nil
	}
}
