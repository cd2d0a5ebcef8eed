package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

func TestCommitConfig(t *testing.T) {
	own := ContainerConfig{Hostname: "h", Cmd: []string{"sh"}, Entrypoint: []string{"/init"}, Env: []string{"A=1"}, User: "7", Labels: map[string]string{"l": "1"}}
	for _, tt := range []struct {
		name string
		o    CommitOptions
		want func(ContainerConfig) bool
		err  bool
	}{
		{name: "as it is", want: func(c ContainerConfig) bool {
			return c.Hostname == "h" && slices.Equal(c.Cmd, own.Cmd) && slices.Equal(c.Entrypoint, own.Entrypoint) && c.User == "7"
		}},
		{name: "an entrypoint drops the command", o: CommitOptions{Changes: []string{`ENTRYPOINT ["/x"]`}}, want: func(c ContainerConfig) bool {
			return len(c.Cmd) == 0 && slices.Equal(c.Entrypoint, []string{"/x"})
		}},
		{name: "changes see the environment", o: CommitOptions{Changes: []string{"ENV B=${A}2", "USER $B"}}, want: func(c ContainerConfig) bool {
			return slices.Contains(c.Env, "B=12") && c.User == "12"
		}},
		{name: "another configuration", o: CommitOptions{Config: &ContainerConfig{Cmd: []string{"x"}, Env: []string{"Z=1"}}}, want: func(c ContainerConfig) bool {
			return slices.Equal(c.Env, []string{"Z=1", "A=1"}) && slices.Equal(c.Cmd, []string{"x"}) && c.Labels["l"] == "1"
		}},
		{name: "no such change", o: CommitOptions{Changes: []string{"FROM x"}}, err: true},
		{name: "wrong change", o: CommitOptions{Changes: []string{"ENV"}}, err: true},
		{name: "wrong configuration", o: CommitOptions{Config: &ContainerConfig{WorkingDir: "x"}}, err: true},
	} {
		c, err := commitConfig(own, tt.o)
		if (err != nil) != tt.err || err != nil && !errdefs.IsInvalidArgument(err) || err == nil && !tt.want(c) {
			t.Errorf("%s: %+v %v", tt.name, c, err)
		}
	}
	if own.Labels["l"] != "1" || len(own.Labels) != 1 || len(own.Env) != 1 {
		t.Errorf("the container's own became %+v", own)
	}
}

// layerFiles give one tar as every layer.
type layerFiles struct {
	Files
	text string
	err  error
}

func (l layerFiles) Layer(_ context.Context, _ string, w io.Writer) error {
	if _, err := io.WriteString(w, l.text); err != nil {
		return err
	}
	return l.err
}

func TestLayerReader(t *testing.T) {
	zeros := strings.Repeat("\x00", tarEnd)
	for _, tt := range []struct {
		text  string
		err   error
		empty bool
	}{
		{zeros, nil, true}, {"", nil, true}, {"file" + zeros, nil, false}, {zeros + "x", nil, false}, {strings.Repeat("\x00", 4*tarEnd), nil, false},
		{"", errdefs.ErrUnavailable, false},
	} {
		resumed := 0
		l := openLayer(t.Context(), layerFiles{text: tt.text, err: tt.err}, "id", func() { resumed++ })
		empty, err := l.empty()
		if empty != tt.empty || !errors.Is(err, tt.err) {
			t.Errorf("%.10q: empty %v, %v", tt.text, empty, err)
		}
		if err == nil {
			if b, err := io.ReadAll(l); string(b) != tt.text || err != nil {
				t.Errorf("%.10q is read as %.10q, %v", tt.text, b, err)
			}
		}
		if err := l.Close(); err != nil || resumed != 1 {
			t.Errorf("%.10q: close %v, resumed %d times", tt.text, err, resumed)
		}
	}
	// Nobody reads it: it ends all the same.
	l := openLayer(t.Context(), layerFiles{text: strings.Repeat("x", 1<<20)}, "id", func() {})
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// FuzzCommit: a configuration and changes of a client are refused or make an
// image's configuration that can be read.
func FuzzCommit(f *testing.F) {
	f.Add([]byte(`{"Cmd":["x"],"Env":["A=1"]}`), "ENV A=$B\nCMD x")
	f.Add([]byte(`null`), "EXPOSE 1-2/udp\nHEALTHCHECK NONE")
	f.Add([]byte(`{"Healthcheck":{"Test":null}}`), "ONBUILD RUN\nLABEL a")
	f.Fuzz(func(t *testing.T, body []byte, change string) {
		c, err := ParseConfig(body)
		if err != nil {
			return
		}
		got, err := commitConfig(ContainerConfig{Cmd: []string{"sh"}}, CommitOptions{Config: c, Changes: strings.Split(change, "\n")})
		if err != nil {
			return
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := imageConfig(spec.Image{Config: append(append([]byte(`{"config":`), b...), '}')}); err != nil {
			t.Error(err)
		}
	})
}
