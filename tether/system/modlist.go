package system

import (
	"fmt"
	"strings"
)

// A Module is one line of the image's load list.
type Module struct {
	File   string // name in the folder of the list
	Late   bool   // not needed before the first process runs
	Device string // beginning of a modalias, or empty
	// Options are the module's parameters, separated by blanks.
	Options string
}

// ParseLoadList reads the list that package isos writes: "file when device
// [options]" a line, when being now or late and device a modalias prefix or "-".
func ParseLoadList(text string) ([]Module, error) {
	var list []Module
	for n, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		f := strings.Fields(l)
		if len(f) < 3 || strings.Contains(f[0], "/") || (f[1] != "now" && f[1] != "late") {
			return nil, fmt.Errorf("load list line %d: %q: want \"file now|late device|- [options]\"", n+1, l)
		}
		m := Module{File: f[0], Late: f[1] == "late", Device: f[2], Options: strings.Join(f[3:], " ")}
		if m.Device == "-" {
			m.Device = ""
		}
		list = append(list, m)
	}
	return list, nil
}

// Wanted picks the modules of one phase whose device is present, in order.
func Wanted(list []Module, late bool, modaliases []string) []Module {
	var out []Module
	for _, m := range list {
		if m.Late == late && (m.Device == "" || hasPrefix(modaliases, m.Device)) {
			out = append(out, m)
		}
	}
	return out
}

func hasPrefix(list []string, prefix string) bool {
	for _, s := range list {
		if strings.HasPrefix(s, prefix) {
			return true
		}
	}
	return false
}
