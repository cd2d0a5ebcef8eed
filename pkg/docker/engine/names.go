package engine

import (
	"fmt"
	"regexp"
	"strings"
)

const nameChars = `[a-zA-Z0-9][a-zA-Z0-9_.-]`

var namePattern = regexp.MustCompile(`^` + nameChars + `+$`)

// The words of generated names: how a small boat may be, and what grows or
// lives near one.
var (
	adjectives = []string{
		"amber", "brisk", "calm", "candid", "clever", "coral", "cosy", "dapper", "eager", "early", "fabled", "fleet", "gentle",
		"glad", "golden", "hardy", "honest", "humble", "jaunty", "keen", "kind", "lively", "lucid", "mellow", "merry", "mild",
		"nimble", "noble", "patient", "placid", "plucky", "polite", "quick", "quiet", "rosy", "sandy", "silver", "snug", "steady",
		"sunny", "swift", "tidy", "trim", "vivid", "warm", "windy", "witty", "young", "zesty",
	}
	nouns = []string{
		"alder", "auk", "avocet", "beacon", "birch", "bramble", "breeze", "brook", "buoy", "cedar", "cove", "crane", "cutter",
		"dinghy", "dory", "dune", "eider", "elm", "estuary", "fern", "gannet", "harbor", "hazel", "heron", "islet", "juniper",
		"kelp", "ketch", "lagoon", "lantern", "larch", "linnet", "mallard", "maple", "marlin", "osprey", "otter", "pebble",
		"petrel", "plover", "puffin", "reed", "rowan", "sandbar", "sloop", "sorrel", "tern", "thistle", "tide", "willow", "wren",
		"yawl",
	}
)

// randomName makes a name such as "brisk_heron"; from the second try on with
// a digit.
func (e *Engine) randomName(try int) string {
	n := adjectives[e.rand(len(adjectives))] + "_" + nouns[e.rand(len(nouns))]
	if try > 0 {
		n += fmt.Sprint(e.rand(10))
	}
	return n
}

// reserve takes a name for id until release is called: by then the port layer
// knows the container by that name, or it is free again. An empty name is
// generated.
func (e *Engine) reserve(id, name string) (string, error) {
	if name == "" {
		for try := range 6 {
			n := e.randomName(try)
			if e.tryReserve(id, n) == "" {
				return n, nil
			}
		}
		name = id[:12]
	}
	name = strings.TrimPrefix(name, "/")
	if !namePattern.MatchString(name) {
		return "", invalid("Invalid container name (%s), only %s are allowed", name, nameChars)
	}
	if owner := e.tryReserve(id, name); owner != "" {
		return "", conflict("Conflict. The container name %q is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.", "/"+name, owner)
	}
	return name, nil
}

// tryReserve gives the id of the container that has the name, or takes it.
func (e *Engine) tryReserve(id, name string) (owner string) {
	e.mu.Lock()
	if o, taken := e.reserved[name]; taken {
		e.mu.Unlock()
		return o
	}
	e.reserved[name] = id
	e.mu.Unlock()
	// The reservation is in place before the look, so two callers can't both pass.
	// A container that is being removed has its name: the removal may fail.
	for _, v := range e.pl.Containers() {
		if v.Container.Name == name {
			e.release(name)
			return v.Container.ID
		}
	}
	return ""
}

func (e *Engine) release(name string) {
	e.mu.Lock()
	delete(e.reserved, name)
	e.mu.Unlock()
}
