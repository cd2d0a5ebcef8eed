package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestBadArguments(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"nosuch"}, `image "nosuch"`},
		{[]string{"all", "more"}, "at most 1"},
		{[]string{"bootstrap", "--kernel-deb", "/nonexistent.deb", "--cache", t.TempDir()}, "/nonexistent.deb"},
		{[]string{"bootstrap", "--root", "/nonexistent", "--cache", t.TempDir()}, "--kernel-deb FILE"},
	} {
		cmd := newBuild()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SetArgs(append(c.args, "--out", t.TempDir()))
		// Without a PATH nothing is downloaded.
		t.Setenv("PATH", "")
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.args, err, c.want)
		}
	}
}

func TestSourceDateEpoch(t *testing.T) {
	for in, want := range map[string]time.Time{"": {}, "0": time.Unix(0, 0).UTC(), "1700000000": time.Unix(1700000000, 0).UTC()} {
		if got, err := sourceDateEpoch(in); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v %v", in, got, err)
		}
	}
	if _, err := sourceDateEpoch("yesterday"); err == nil {
		t.Error("no error for a word")
	}
}
