package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDatastore(t *testing.T) {
	state := t.TempDir()
	if err := os.MkdirAll(filepath.Join(state, "datastores", "ds1"), 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (int, string) {
		var errs bytes.Buffer
		code := Execute(t.Context(), append([]string{"datastore", "--state", state}, args...), Terminal{Out: &errs, Err: &errs, Env: func(string) string { return "" }})
		return code, errs.String()
	}
	mark := filepath.Join(state, "lost", "ds1")
	for _, c := range []struct {
		args []string
		code int
		say  string
		lost bool
	}{
		{[]string{"ds1", "lost"}, 0, "", true},
		{[]string{"ds1", "lost"}, 0, "", true},
		{[]string{"ds2", "lost"}, 1, "ds2", true},
		{[]string{"ds1", "away"}, 1, "lost or back", true},
		{[]string{"ds1", "back"}, 0, "", false},
		{[]string{"ds1", "back"}, 0, "", false},
		{[]string{"ds1"}, 1, "2 arg", false},
	} {
		code, out := run(c.args...)
		_, err := os.Stat(mark)
		if code != c.code || !strings.Contains(out, c.say) || (err == nil) != c.lost {
			t.Errorf("%q: %d %q, lost %v", c.args, code, out, err == nil)
		}
	}
}
