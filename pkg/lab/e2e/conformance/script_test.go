package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
	}{
		{"", nil},
		{"# a comment", nil},
		{"docker ps # and why", []string{"docker", "ps"}},
		{`api POST /x '{"a": "b#c"}'`, []string{"api", "POST", "/x", `{"a": "b#c"}`}},
		{"a '' b", []string{"a", "", "b"}},
		{"a 'it''s'", []string{"a", "it's"}},
		{"a b'c d'e", []string{"a", "bc de"}},
	} {
		got, err := split(c.line)
		if err != nil || !cmp.Equal(got, c.want) {
			t.Errorf("%q: %q %v, want %q", c.line, got, err, c.want)
		}
	}
}

func TestBadScripts(t *testing.T) {
	for text, want := range map[string]string{
		"docker":              "docker wants 1 words or more",
		"\napi GET":           "bad.txtar:2: api wants 2 words or more",
		"nosuch docker ps":    `"nosuch" is no step and no modifier`,
		"pick":                "pick: want a step",
		"sorted":              "nothing follows sorted",
		"pick A":              "nothing follows pick",
		"docker run 'busybox": "a quote is not closed",
	} {
		if _, err := parseScript("bad", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzScript(f *testing.F) {
	f.Add("pick A,B.C docker run 'a b'\n-- f --\nx\n")
	f.Add("0000000\n-- --")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseScript("x", []byte(text))
		if err != nil {
			return
		}
		for _, st := range s.steps {
			if st.line < 1 || len(st.args) < verbs[st.verb] {
				t.Errorf("%+v", st)
			}
		}
	})
}

// TestTally: one field, in each of its fates.
func TestTally(t *testing.T) {
	list, err := readAccepted([]byte(`[{"field":"json\\.A","dockerd":"1","vic":"2","what":"w","why":"y"},{"field":"stderr","what":"w","why":"y"}]`))
	if err != nil {
		t.Fatal(err)
	}
	step := func(f fields) []result { return []result{{1, "api GET /x", f}} }
	for _, c := range []struct {
		dockerd, vic fields
		want         string
	}{
		{fields{"json.A": "1"}, fields{"json.A": "1"}, "1 0 0"},
		{fields{"json.A": "1"}, fields{"json.A": "2"}, "0 1 0"},
		{fields{"json.A": "1"}, fields{"json.A": "3"}, "0 0 1"},
		{fields{"json.A": "1", "json.B": "x"}, fields{"json.A": "1"}, "1 0 1"},
		{fields{"status": "200", "json.A": "1"}, fields{"status": "404", "json.message": "m"}, "0 0 2"},
	} {
		sum := tally{met: map[int]bool{}}
		if err := sum.add("s", list, step(c.dockerd), step(c.vic)); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(sum.same, len(sum.accepted), len(sum.different)); got != c.want {
			t.Errorf("%v %v: %s same, accepted, different; want %s", c.dockerd, c.vic, got, c.want)
		}
	}
	if err := (&tally{}).add("s", list, step(nil), nil); err == nil {
		t.Error("steps that are missing go unnoticed")
	}
}

func TestNormal(t *testing.T) {
	f := fields{}
	body := `{"Id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","Created":1700000000,"At":"2026-01-02T03:04:05.678Z","L":[],"M":{},"N":null,` +
		`"Status":"Up 3 seconds","Mac":"02:42:ac:11:00:02","IP":"172.17.0.9","Own":"10.71.0.9"}`
	if err := flatten("json", []byte(body), false, f); err != nil {
		t.Fatal(err)
	}
	want := fields{"json.Id": `"<id>"`, "json.Created": `"<time>"`, "json.At": `"<time>"`, "json.L": "[]", "json.M": "{}", "json.N": "<nil>", "json.Status": `"Up <while>"`,
		"json.Mac": `"<mac>"`, "json.IP": `"<address>"`, "json.Own": `"10.71.0.9"`}
	if d := cmp.Diff(want, f); d != "" {
		t.Error(d)
	}
	m := modifiers{pick: []string{"M", "L"}, drop: []string{"L"}}
	if got := m.choose(fields{"status": "200", "json.M.x": "1", "json.L.0": "2", "json.N": "3"}); !cmp.Equal(got, fields{"status": "200", "json.M.x": "1"}) {
		t.Error(got)
	}
	if got := (modifiers{shape: true}).choose(fields{"status": "200", "json.A": `"x"`, "json.B": "3", "json.C": "true"}); !cmp.Equal(got,
		fields{"status": "200", "json.A": "string", "json.B": "number", "json.C": "boolean"}) {
		t.Error(got)
	}
	said := "time=\"2026-11-28T23:50:00Z\" level=error msg=\"Can't add file /tmp/conformance1/in to tar: io: read/write on closed pipe\"\n" +
		"time=\"2026-11-28T23:50:00Z\" level=error msg=\"Can't close tar writer: io: read/write on closed pipe\"\nno such directory\n"
	if got := lines(said, false); got != "no such directory" {
		t.Errorf("%q", got)
	}
	pulled := "0123456789ab: Pulling fs layer\n0123456789ab: Verifying Checksum\n0123456789ab: Download complete\n0123456789ab: Pull complete\nDigest: x\n"
	if got := lines(pulled, false); got != "<short id>: Pulling fs layer\n<short id>: Pull complete\nDigest: x" {
		t.Errorf("%q", got)
	}
	list := fields{}
	if err := flatten("", []byte(`[{"N":"b"},{"N":"a"}]`), true, list); err != nil || list[".0.N"] != `"a"` {
		t.Error(list, err)
	}
}
