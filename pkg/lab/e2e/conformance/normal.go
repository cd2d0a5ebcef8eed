package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// fields are what a step gave, normalised: a path like json.State.Status to a
// scalar as JSON has it. Besides json there are exit, stdout, stderr, status, body.
type fields map[string]string

// masks hide in texts what differs from one engine, and one run, to the next.
var masks = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`\bsha256:[0-9a-f]{64}\b`), "<digest>"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<id>"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "<short id>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?(Z|[+-]\d\d:?\d\d))?( UTC| [A-Z]{3,4})?`), "<time>"},
	{regexp.MustCompile(`\b(Less than a second|About an? (minute|hour)|\d+ (seconds?|minutes?|hours?|days?|weeks?|months?|years?))( ago)?\b`), "<while>"},
	{regexp.MustCompile(`\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b`), "<mac>"},
	{regexp.MustCompile(`\b(172\.(1[6-9]|2\d|3[01])|192\.168)\.\d+\.\d+\b`), "<address>"},
	{regexp.MustCompile(`/tmp/conformance\d+`), "<folder>"},
	{regexp.MustCompile(`Total reclaimed space: \S+`), "Total reclaimed space: <size>"},
	// Go's names of the types that a body is read into.
	{regexp.MustCompile(`Go (struct field|value) (\S+ )?of type \S+`), "Go $1"},
	// The column of the client's tables is as wide as what it holds.
	{regexp.MustCompile(` {2,}`), "  "},
}

// brokenPipe is what docker cp logs, besides the engine's answer, when that comes
// before the client has sent all of its archive. An engine answers as soon as it
// knows, so that it is a race with both.
var brokenPipe = regexp.MustCompile(`(?m)^time="[^"]*" level=error msg="Can't (add file .* to tar|close tar writer): [^\n]*closed pipe"\r?\n?`)

// timeKeys are fields of JSON that hold a moment as a number.
var timeKeys = map[string]bool{"Created": true, "time": true, "timeNano": true, "CreatedAt": true}

func normalText(s string) string {
	for _, m := range masks {
		s = m.re.ReplaceAllString(s, m.to)
	}
	return s
}

// flatten turns the JSON values of a body into fields below prefix. A body of more
// than one value is a list; one that is no JSON is an error.
func flatten(prefix string, body []byte, sorted bool, out fields) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var all []any
	for {
		var v any
		err := d.Decode(&v)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		all = append(all, v)
	}
	var v any = all
	if len(all) == 1 {
		v = all[0]
	}
	flattenValue(prefix, v, sorted, out)
	return nil
}

func flattenValue(path string, v any, sorted bool, out fields) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			out[path] = "{}"
		}
		for k, e := range v {
			if n, ok := e.(json.Number); ok && timeKeys[k] && n != "0" {
				e = "<time>"
			}
			flattenValue(path+"."+normalText(strings.ReplaceAll(k, ".", "·")), e, sorted, out)
		}
	case []any:
		if len(v) == 0 {
			out[path] = "[]"
		}
		for i, e := range inOrder(v, sorted) {
			flattenValue(path+"."+strconv.Itoa(i), e, sorted, out)
		}
	case string:
		out[path] = strconv.Quote(normalText(v))
	default:
		out[path] = fmt.Sprint(v)
	}
}

// inOrder sorts a list by what its entries are once normalised.
func inOrder(list []any, sorted bool) []any {
	if !sorted {
		return list
	}
	key := func(v any) string {
		f := fields{}
		flattenValue("", v, true, f)
		return f.String()
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b any) int { return strings.Compare(key(a), key(b)) })
	return list
}

func (f fields) String() string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(f)) {
		fmt.Fprintf(&b, "%s=%s\n", k, f[k])
	}
	return b.String()
}

// choose leaves what a step's modifiers want compared.
func (m modifiers) choose(f fields) fields {
	out := fields{}
	for k, v := range f {
		path, isJSON := strings.CutPrefix(k, "json.")
		always := k == "exit" || k == "status"
		switch {
		case m.code && !always,
			len(m.pick) > 0 && !always && !(isJSON && slices.ContainsFunc(m.pick, func(p string) bool { return within(p, path) })),
			isJSON && slices.ContainsFunc(m.drop, func(p string) bool { return within(p, path) }),
			slices.Contains(m.drop, k):
			continue
		}
		if m.shape && !always {
			v = shapeOf(v)
		}
		out[k] = v
	}
	return out
}

// within tells whether path is pattern or below it; * is any one element.
func within(pattern, path string) bool {
	p, q := strings.Split(pattern, "."), strings.Split(path, ".")
	if len(q) < len(p) {
		return false
	}
	for i, e := range p {
		if e != "*" && e != q[i] {
			return false
		}
	}
	return true
}

// shapeOf is the type of a scalar as flatten writes it.
func shapeOf(v string) string {
	switch {
	case strings.HasPrefix(v, `"`):
		return "string"
	case v == "true" || v == "false":
		return "boolean"
	case v == "[]" || v == "{}" || v == "<nil>":
		return v
	}
	if _, err := strconv.ParseFloat(v, 64); err == nil {
		return "number"
	}
	return "text"
}

// passing are lines of a pull that dockerd may say, or not: its clients get a layer's
// latest progress, and what came and went before they looked is skipped
// (distribution/xfer/transfer.go of moby, lastProgress).
var passing = regexp.MustCompile(`^<short id>: (Waiting|Verifying Checksum|Download complete)$`)

// lines normalises what a client printed.
func lines(text string, sorted bool) string {
	text = strings.ReplaceAll(brokenPipe.ReplaceAllString(text, ""), "\r\n", "\n")
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, l := range all {
		all[i] = strings.TrimRight(normalText(l), " ")
	}
	all = slices.DeleteFunc(all, func(l string) bool { return passing.MatchString(l) })
	if sorted {
		slices.Sort(all)
	}
	return strings.Join(all, "\n")
}
