package tether

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
)

func logTo(w io.Writer) *logrus.Entry { return newLog(w, true) }

func TestRunTakesStepsInOrder(t *testing.T) {
	var did []string
	do := func(name string, err error) Step[*[]string] {
		return Step[*[]string]{Name: name, Run: func(_ context.Context, d *[]string) error {
			*d = append(*d, name)
			return err
		}}
	}
	broken := errors.New("broken")
	soft := do("soft", broken)
	soft.Optional = true
	var out bytes.Buffer
	err := run(t.Context(), &did, []Step[*[]string]{do("one", nil), soft, do("two", broken), do("three", nil)}, logTo(&out))
	if !errors.Is(err, broken) || err.Error() != "two: broken" {
		t.Errorf("got %v", err)
	}
	if s := strings.Join(did, " "); s != "one soft two" {
		t.Errorf("did %s", s)
	}
	for _, want := range []string{"<4>vic: steps done step=\"one ", "<4>vic: step failed, going on error=broken step=soft"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, out.String())
		}
	}

	did = nil
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, &did, []Step[*[]string]{soft}, logTo(io.Discard)); !errors.Is(err, context.Canceled) || did != nil {
		t.Errorf("asked to stop: did %v, %v", did, err)
	}
}

func TestLogLines(t *testing.T) {
	var b bytes.Buffer
	log := logTo(&b)
	log.WithField("path", "/a b").WithField("id", "x").Warn("two\nlines\x1b[2J ")
	log.Error(strings.Repeat("é", 2000))
	log.Debug("d")
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %q", len(lines), lines)
	}
	if lines[0] != `<4>vic: two lines [2J id=x path="/a b"` {
		t.Errorf("%q", lines[0])
	}
	if len(lines[1]) > 1000 || !strings.HasPrefix(lines[1], "<3>") {
		t.Errorf("%d bytes, begins %.20q", len(lines[1]), lines[1])
	}
	if !strings.HasPrefix(lines[2], "<7>vic: d") {
		t.Errorf("%q", lines[2])
	}
}

func TestHostnames(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for want, c := range map[string]spec.Container{
		"box":          {ID: id, Hostname: "box"},
		"0123456789ab": {ID: id},
		"short":        {ID: "short"},
	} {
		if got := hostnameOf(c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for in, want := range map[string]string{
		"VCH001":                       "vch001",
		" My VCH! ":                    "my-vch",
		"ü":                            "vch",
		"":                             "vch",
		"---":                          "vch",
		strings.Repeat("a", 100):       strings.Repeat("a", 63),
		strings.Repeat("a", 62) + "-b": strings.Repeat("a", 62),
	} {
		if got := applianceHostname(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
