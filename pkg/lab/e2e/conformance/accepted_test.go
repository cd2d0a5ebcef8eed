package main

import (
	"fmt"
	"slices"
	"testing"
)

// TestAcceptedCanOccur: every entry of the list is of a step that some script has.
// Whether it does occur, `make conformance` finds out.
func TestAcceptedCanOccur(t *testing.T) {
	scripts, err := readScripts(scriptsDir)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range acceptedList(t) {
		can := slices.ContainsFunc(scripts, func(s script) bool {
			return a.script.MatchString(s.name) && slices.ContainsFunc(s.steps, func(st step) bool { return a.step.MatchString(st.text) })
		})
		if !can {
			t.Errorf("entry %d is of script %q, step %q, which there is not: %s", i+1, a.Script, a.Step, a)
		}
	}
}

// TestStale: an entry that did not occur is one too many when it could have.
func TestStale(t *testing.T) {
	list, err := readAccepted([]byte(`[
		{"field":"a","what":"w","why":"y"},
		{"field":"b","script":"run","what":"w","why":"y"},
		{"field":"c","script":"run|create","what":"w","why":"y"},
		{"field":"d","script":"create","what":"w","why":"y"}]`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		met  map[int]bool
		ran  []string
		all  bool
		want string
	}{
		{map[int]bool{0: true, 1: true, 2: true, 3: true}, []string{"create", "run"}, true, "[]"},
		{map[int]bool{1: true, 3: true}, []string{"create", "run"}, true, "[0 2]"},
		{map[int]bool{}, []string{"create", "run"}, false, "[1 2 3]"},
		{map[int]bool{}, []string{"create"}, false, "[3]"},
		{map[int]bool{3: true}, []string{"create"}, false, "[]"},
	} {
		if got := fmt.Sprint(stale(list, c.met, c.ran, c.all)); got != c.want {
			t.Errorf("%v of %v, all %v: %s, want %s", c.met, c.ran, c.all, got, c.want)
		}
	}
}
