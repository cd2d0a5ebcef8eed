package system

import (
	"fmt"
	"slices"
	"strings"
)

// A Phase is when modules are loaded: Now, Late, or the name of what needs them
// on demand.
type Phase string

// The phases that come of themselves. Late: not needed before the first process
// runs.
const (
	Now  Phase = "now"
	Late Phase = "late"
)

// The phases of what is loaded on demand (the Demand names of package isos).
const (
	Filtering Phase = "filter" // what a LinkFilter needs
	DiscDrive Phase = "disc"   // what MountDisc needs
	XFS       Phase = "xfs"
	NFS       Phase = "nfs"
)

// onDisc ends the names of modules that lie on the disc, compressed with gzip.
const onDisc = ".kgz"

// Tracking is the phase of what a TrustFilter needs.
const Tracking Phase = "trust"

// Policing is the phase of what the rules of policies need.
const Policing Phase = "policy"

// demand begins the word for modules that are loaded when something asks.
const demand = "demand:"

// A Module is one line of the image's load list.
type Module struct {
	File   string // name in the folder of the list
	Phases []Phase
	Device string // beginning of a modalias, or empty
	// Options are the module's parameters, separated by blanks.
	Options string
}

// ParseLoadList reads the list that package isos writes: "file when device
// [options]" a line, when being now, late or demand:WHAT[,WHAT…], and device a
// modalias prefix or "-".
func ParseLoadList(text string) ([]Module, error) {
	var list []Module
	for n, l := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		f := strings.Fields(l)
		if len(f) < 3 || strings.Contains(f[0], "/") {
			return nil, badLine(n, l)
		}
		m := Module{File: f[0], Device: f[2], Options: strings.Join(f[3:], " ")}
		switch what, onDemand := strings.CutPrefix(f[1], demand); {
		case onDemand:
			for _, w := range strings.Split(what, ",") {
				if w == "" || Phase(w) == Now || Phase(w) == Late {
					return nil, badLine(n, l)
				}
				m.Phases = append(m.Phases, Phase(w))
			}
		case Phase(f[1]) == Now || Phase(f[1]) == Late:
			m.Phases = []Phase{Phase(f[1])}
		default:
			return nil, badLine(n, l)
		}
		if m.Device == "-" {
			m.Device = ""
		}
		list = append(list, m)
	}
	return list, nil
}

// OnDisc tells whether some of a phase's modules lie on the disc.
func OnDisc(list []Module, phase Phase) bool {
	for _, m := range Wanted(list, phase, nil) {
		if strings.HasSuffix(m.File, onDisc) {
			return true
		}
	}
	return false
}

func badLine(n int, line string) error {
	return fmt.Errorf("load list line %d: %q: want \"file now|late|demand:what device|- [options]\"", n+1, line)
}

// Wanted picks the modules of one phase whose device is present, in order.
func Wanted(list []Module, phase Phase, modaliases []string) []Module {
	var out []Module
	for _, m := range list {
		if slices.Contains(m.Phases, phase) && (m.Device == "" || hasPrefix(modaliases, m.Device)) {
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
