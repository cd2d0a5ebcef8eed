package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/txtar"
)

// script is one txtar file: what is done to an engine, a step a line, and the
// files that the steps read.
type script struct {
	name  string // "rm" of rm.txtar
	steps []step
	files []txtar.File
}

// step is one line of a script:
//
//	[MODIFIER…] docker ARG…
//	[MODIFIER…] api [-type TYPE] METHOD PATH [BODY]
//	sh COMMAND
//
// docker is the client; what it prints and its exit code are compared. api is a
// request of its own: status and body are compared, field by field when the body
// is JSON. A body of @NAME is the script's file. sh runs on this computer and is
// not compared. Words are quoted by '…'; $NAME is what let kept. The modifiers:
//
//	pick A,B     compare these fields alone, and the status or exit code
//	drop A,B     compare all but these fields
//	shape        compare the types of the fields, not their values
//	sorted       compare without regard to the order of lines, or of a list's entries
//	code         compare the exit code or status alone
//	await        repeat until it succeeds; only that it did is compared
//	let NAME     keep what it prints (for api: the field Id) as $NAME
//	stdin NAME   the file that the client reads
//
// A field is a path like NetworkSettings.Networks.bridge.Gateway; * stands for any
// one element, and a path names all below it.
type step struct {
	line int
	text string // as written
	mod  modifiers
	verb string // docker, api, sh
	args []string
}

type modifiers struct {
	pick, drop                 []string
	shape, sorted, code, await bool
	let, stdin                 string
}

// readScripts reads a folder's scripts, in the order of their names.
func readScripts(dir string) ([]script, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out []script
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		s, err := parseScript(strings.TrimSuffix(filepath.Base(name), ".txtar"), b)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// parseScript reads a script; an error names the line.
func parseScript(name string, text []byte) (script, error) {
	a := txtar.Parse(text)
	s := script{name: name, files: a.Files}
	for i, line := range strings.Split(string(a.Comment), "\n") {
		words, err := split(line)
		if err == nil && len(words) > 0 {
			var st step
			if st, err = parseStep(words); err == nil {
				st.line, st.text = i+1, strings.TrimSpace(line)
				s.steps = append(s.steps, st)
			}
		}
		if err != nil {
			return script{}, fmt.Errorf("%s.txtar:%d: %w", name, i+1, err)
		}
	}
	return s, nil
}

// verbs and how many words each needs besides.
var verbs = map[string]int{"docker": 1, "api": 2, "sh": 1}

func parseStep(words []string) (step, error) {
	var st step
	for {
		word, rest := words[0], words[1:]
		if least, ok := verbs[word]; ok {
			if len(rest) < least {
				return step{}, fmt.Errorf("%s wants %d words or more", word, least)
			}
			st.verb, st.args = word, rest
			return st, nil
		}
		used, err := st.mod.set(word, rest)
		if err != nil {
			return step{}, err
		}
		if words = rest[used:]; len(words) == 0 {
			return step{}, fmt.Errorf("nothing follows %s: want docker, api or sh", word)
		}
	}
}

// set sets a modifier, and tells how many of the words after it are its own.
func (m *modifiers) set(word string, rest []string) (int, error) {
	switch word {
	case "shape":
		m.shape = true
		return 0, nil
	case "sorted":
		m.sorted = true
		return 0, nil
	case "code":
		m.code = true
		return 0, nil
	case "await":
		m.await = true
		return 0, nil
	}
	if len(rest) == 0 {
		return 0, fmt.Errorf("%s: want a step", word)
	}
	switch word {
	case "pick":
		m.pick = strings.Split(rest[0], ",")
	case "drop":
		m.drop = strings.Split(rest[0], ",")
	case "let":
		m.let = rest[0]
	case "stdin":
		m.stdin = rest[0]
	default:
		return 0, fmt.Errorf("%q is no step and no modifier", word)
	}
	return 1, nil
}

// split cuts a line into words. A # begins a comment, ' quotes, a quote inside
// quotes is written twice.
func split(line string) ([]string, error) {
	var out []string
	var word strings.Builder
	in, quoted := false, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted && c == '\'' && i+1 < len(line) && line[i+1] == '\'':
			word.WriteByte(c)
			i++
		case c == '\'':
			quoted, in = !quoted, true
		case quoted:
			word.WriteByte(c)
		case c == '#' && !in:
			return out, nil
		case c == ' ' || c == '\t' || c == '\r':
			if in {
				out = append(out, word.String())
				word.Reset()
				in = false
			}
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quote is not closed: %s", line)
	}
	if in {
		out = append(out, word.String())
	}
	return out, nil
}

// rawOnly tells whether a script needs no docker client and nothing of this
// computer: it can then run against an engine in memory.
func (s script) rawOnly() bool {
	return !slices.ContainsFunc(s.steps, func(st step) bool { return st.verb != "api" })
}
