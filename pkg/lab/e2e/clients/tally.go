package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// tally adds up steps.
type tally struct{ passed, failed int }

// read takes the lines of a script, "ok STEP" or "not ok STEP: why", and prints each
// step for its client; other lines are the client's own and left out.
func (t *tally) read(from io.Reader, out io.Writer, client string) error {
	in := bufio.NewScanner(from)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		line := in.Text()
		if step, ok := strings.CutPrefix(line, "ok "); ok {
			t.passed++
			if _, err := fmt.Fprintf(out, "PASS %s: %s\n", client, step); err != nil {
				return err
			}
		}
		if rest, ok := strings.CutPrefix(line, "not ok "); ok {
			step, why, _ := strings.Cut(rest, ": ")
			if err := t.fail(out, client, step, why); err != nil {
				return err
			}
		}
	}
	return in.Err()
}

func (t *tally) fail(out io.Writer, client, step, why string) error {
	t.failed++
	_, err := fmt.Fprintf(out, "FAIL %s: %s: %s\n", client, step, why)
	return err
}

// oneLine is the end of a text, for a line that tells of it.
func oneLine(s string) string {
	const most = 600
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = "… " + s[len(s)-most:]
	}
	return s
}
