package engine_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

func TestApplyChanges(t *testing.T) {
	for _, c := range []struct {
		start, changes, want string
	}{
		{`{}`, "", `{}`},
		{`{"Cmd":["sh"]}`, `CMD ["a","b c"]`, `{"Cmd":["a","b c"]}`},
		{`{}`, "CMD echo hi", `{"Cmd":["/bin/sh","-c","echo hi"]}`},
		{`{"Shell":["/bin/bash","-ec"]}`, "ENTRYPOINT x y", `{"Entrypoint":["/bin/bash","-ec","x y"],"Shell":["/bin/bash","-ec"]}`},
		{`{"Cmd":["old"]}`, `ENTRYPOINT ["e"]`, `{"Entrypoint":["e"]}`},
		{`{"Cmd":["old"]}`, "CMD [\"new\"]\nENTRYPOINT [\"e\"]", `{"Cmd":["new"],"Entrypoint":["e"]}`},
		{`{"Env":["A=1","B=2"]}`, "ENV A=3 C=\"x y\"\nENV D=$A-${B:-z}", `{"Env":["A=3","B=2","C=x y","D=3-2"]}`},
		{`{"Labels":{"a":"1"}}`, `LABEL a=2 b="c d"`, `{"Labels":{"a":"2","b":"c d"}}`},
		{`{"Env":["P=80 443"]}`, "EXPOSE $P 53/udp", `{"Env":["P=80 443"],"ExposedPorts":{"80/tcp":{},"443/tcp":{},"53/udp":{}}}`},
		{`{}`, `VOLUME /a ["/b"]`, `{"Volumes":{"/a":{},"[/b]":{}}}`},
		{`{}`, `volume ["/a","/b"]`, `{"Volumes":{"/a":{},"/b":{}}}`},
		{`{"WorkingDir":"/a"}`, "WORKDIR b", `{"WorkingDir":"/a/b"}`},
		{`{"WorkingDir":"/a"}`, "WORKDIR /c/", `{"WorkingDir":"/c"}`},
		{`{}`, "USER me:us\nSTOPSIGNAL SIGINT\nONBUILD RUN x", `{"User":"me:us","StopSignal":"SIGINT","OnBuild":["RUN x"]}`},
		{`{}`, "HEALTHCHECK --interval=5s --retries=2 CMD [\"ok\"]", `{"Healthcheck":{"Test":["CMD","ok"],"Interval":5000000000,"Retries":2}}`},
		{`{"Healthcheck":{"Test":["CMD","x"]}}`, "HEALTHCHECK NONE", `{"Healthcheck":{"Test":["NONE"]}}`},
	} {
		var got, want dockerspec.DockerOCIImageConfig
		for text, to := range map[string]*dockerspec.DockerOCIImageConfig{c.start: &got, c.want: &want} {
			if err := json.Unmarshal([]byte(text), to); err != nil {
				t.Fatal(err)
			}
		}
		if c.start == c.want { // the map above has one of them
			want = got
		}
		if err := engine.ApplyChanges(&got, strings.Split(c.changes, "\n")); err != nil {
			t.Errorf("%q: %v", c.changes, err)
			continue
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.changes, d)
		}
	}
	for change, want := range map[string]string{
		"RUN x": "RUN is not a valid change command", "FROM x": "FROM is not a valid", "ENV": "ENV", "EXPOSE x": "EXPOSE x", "STOPSIGNAL NO": "signal",
		"LABEL": "LABEL", "ENV A=${": "",
	} {
		err := engine.ApplyChanges(&dockerspec.DockerOCIImageConfig{}, []string{change})
		if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", change, err)
		}
	}
}

func FuzzApplyChanges(f *testing.F) {
	f.Add("CMD [\"a\"]\nENV A=$B")
	f.Add("HEALTHCHECK --interval=1s CMD x\nEXPOSE 1-3/udp")
	f.Fuzz(func(t *testing.T, text string) {
		c := dockerspec.DockerOCIImageConfig{}
		if err := engine.ApplyChanges(&c, []string{text}); err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatal(err)
			}
			return
		}
		if _, err := json.Marshal(c); err != nil {
			t.Fatal(err)
		}
	})
}
