package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed accepted.json
var acceptedJSON []byte

// acceptance is a kind of difference that is meant, and why. A pattern is a regular
// expression that has to match all of the text; an empty one matches any.
type acceptance struct {
	Script  string `json:"script,omitempty"` // name of the script, without .txtar
	Step    string `json:"step,omitempty"`   // as written in the script
	Field   string `json:"field"`
	Dockerd string `json:"dockerd,omitempty"`
	Vic     string `json:"vic,omitempty"`
	What    string `json:"what"` // for docs/compatibility.md: what differs
	Why     string `json:"why"`

	script, step, field, dockerd, vic *regexp.Regexp
}

// readAccepted reads the list. Every entry needs its field, and says what and why.
func readAccepted(text []byte) ([]acceptance, error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	var list []acceptance
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("accepted.json: %w", err)
	}
	for i := range list {
		a := &list[i]
		if a.Field == "" || a.What == "" || a.Why == "" {
			return nil, fmt.Errorf("accepted.json: entry %d needs field, what and why", i+1)
		}
		for _, p := range []struct {
			text string
			into **regexp.Regexp
		}{{a.Script, &a.script}, {a.Step, &a.step}, {a.Field, &a.field}, {a.Dockerd, &a.dockerd}, {a.Vic, &a.vic}} {
			if p.text == "" {
				p.text = ".*"
			}
			re, err := regexp.Compile("^(?s:" + p.text + ")$")
			if err != nil {
				return nil, fmt.Errorf("accepted.json: entry %d: %w", i+1, err)
			}
			*p.into = re
		}
	}
	return list, nil
}

func (a acceptance) covers(d difference) bool {
	return a.script.MatchString(d.script) && a.step.MatchString(d.step) && a.field.MatchString(d.field) &&
		a.dockerd.MatchString(d.dockerd) && a.vic.MatchString(d.vic)
}

// stale are the indices of the entries that did not occur although they could: every
// one when all scripts were run, else those that name scripts, all of which were.
func stale(list []acceptance, met map[int]bool, ran []string, all bool) []int {
	var out []int
	for i, a := range list {
		if !met[i] && (all || a.Script != "" && allRan(a.Script, ran)) {
			out = append(out, i)
		}
	}
	return out
}

// allRan tells whether a pattern that is a name, or names with a | between them, has
// no name but these.
func allRan(pattern string, names []string) bool {
	for _, n := range strings.Split(pattern, "|") {
		if !slices.Contains(names, n) {
			return false
		}
	}
	return true
}

func (a acceptance) String() string { return fmt.Sprintf("%s: %s (%s)", a.Field, a.What, a.Why) }

// The section of docs/compatibility.md that the list is shown in, and its table.
const (
	sectionBegin = "<!-- accepted-differences -->\n"
	sectionEnd   = "<!-- /accepted-differences -->\n"
)

// section is the list as the text between the two marks.
func section(list []acceptance) string {
	var b strings.Builder
	b.WriteString("\n| script | what differs | why |\n|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	for _, a := range list {
		where := "any"
		if a.Script != "" {
			where = "`" + cell.Replace(a.Script) + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", where, cell.Replace(a.What), cell.Replace(a.Why))
	}
	b.WriteString("\n")
	return b.String()
}

// replaceSection puts the list's section into the document.
func replaceSection(doc string, list []acceptance) (string, error) {
	before, rest, ok := strings.Cut(doc, sectionBegin)
	_, after, ok2 := strings.Cut(rest, sectionEnd)
	if !ok || !ok2 {
		return "", fmt.Errorf("the document has no lines %s and %s", strings.TrimSpace(sectionBegin), strings.TrimSpace(sectionEnd))
	}
	return before + sectionBegin + section(list) + sectionEnd + after, nil
}
