package main

import (
	"fmt"
	"maps"
	"slices"
)

// absent is the value of a field that one side does not have.
const absent = "(absent)"

// difference is one field in which vic's answer is not dockerd's.
type difference struct {
	script, step string
	line         int
	field        string
	dockerd, vic string
}

func (d difference) String() string {
	return fmt.Sprintf("%s: dockerd=%s vic=%s", d.field, d.dockerd, d.vic)
}

func (d difference) where() string { return fmt.Sprintf("%s.txtar:%d: %s", d.script, d.line, d.step) }

// tally is the outcome of a run.
type tally struct {
	same      int
	accepted  []difference
	different []difference
	met       map[int]bool // entries of the list that occurred
}

// add compares what a script gave on both sides. The two come from the same steps.
func (t *tally) add(script string, list []acceptance, dockerd, vic []result) error {
	if len(dockerd) != len(vic) {
		return fmt.Errorf("%s: %d steps on dockerd, %d on vic", script, len(dockerd), len(vic))
	}
	for i, want := range dockerd {
		got := vic[i]
		if want.Line != got.Line || want.Step != got.Step {
			return fmt.Errorf("%s: step %q on dockerd, %q on vic", script, want.Step, got.Step)
		}
		for _, k := range comparable(want.Fields, got.Fields) {
			d := difference{script: script, step: want.Step, line: want.Line, field: k, dockerd: value(want.Fields, k), vic: value(got.Fields, k)}
			if d.dockerd == d.vic {
				t.same++
				continue
			}
			n := slices.IndexFunc(list, func(a acceptance) bool { return a.covers(d) })
			if n < 0 {
				t.different = append(t.different, d)
				continue
			}
			t.met[n] = true
			t.accepted = append(t.accepted, d)
		}
	}
	return nil
}

// comparable are the fields to compare, in order. An answer of another status is
// another answer: then what it says of itself is enough.
func comparable(want, got fields) []string {
	keys := maps.Clone(want)
	maps.Copy(keys, got)
	if want["status"] != got["status"] || want["exit"] != got["exit"] {
		maps.DeleteFunc(keys, func(k, _ string) bool {
			return !slices.Contains([]string{"status", "exit", "json.message", "stderr"}, k)
		})
	}
	return slices.Sorted(maps.Keys(keys))
}

func value(f fields, k string) string {
	if v, ok := f[k]; ok {
		return v
	}
	return absent
}
