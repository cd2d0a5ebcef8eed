package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	var c tally
	var out bytes.Buffer
	err := c.read(strings.NewReader("ok one\nsomething else\nnot ok two: the reason: why\nok three, four\n"), &out, "client 1.0")
	want := "PASS client 1.0: one\nFAIL client 1.0: two: the reason: why\nPASS client 1.0: three, four\n"
	if err != nil || out.String() != want || c != (tally{2, 1}) {
		t.Errorf("%v %+v\n%s", err, c, out.String())
	}
}

// A script that dies between two steps does not pass.
func TestScriptThatDies(t *testing.T) {
	dir := t.TempDir()
	o := options{cache: dir, scripts: filepath.Join(dir, "testdata")}
	for script, want := range map[string]string{
		"echo ok one; exit 0":                     "1 0",
		"echo ok one; echo broken >&2; exit 3":    "1 1",
		"echo ok one; echo not ok two: x; exit 1": "1 1",
		"exit 0": "0 1",
	} {
		var c tally
		var out bytes.Buffer
		err := client{title: "a client", version: []string{"echo", "1.0"}, script: []string{"sh", "-c", script}}.run(context.Background(), o, os.Environ(), &out, &c)
		got := string(rune('0'+c.passed)) + " " + string(rune('0'+c.failed))
		if err != nil || got != want {
			t.Errorf("%s: %s, want %s (%v)\n%s", script, got, want, err, out.String())
		}
	}
}

func TestOnlyNamesClients(t *testing.T) {
	err := run(context.Background(), options{only: []string{"nope"}}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "-only nope: want one of cli-debian, cli, compose") {
		t.Errorf("%v", err)
	}
}
