package guestinfo

import (
	"fmt"
	"sort"

	"github.com/vic-engine/vic/pkg/spec"
)

// EncodeContainer gives the keys of a container. It refuses values that are not
// UTF-8 and what exceeds MaxValue or MaxTotal (LimitError).
func EncodeContainer(c spec.Container) (map[string]string, error) {
	e := newEncoder(KindContainer)
	encodeFields(e, "", containerFields(), &c)

	e.index(prefixRead, "sessions", nonEmpty(c.ID), "container id")
	session := session{Name: c.Name, Process: c.Process}
	encodeFields(e, "sessions|"+escapeKey(c.ID)+"/", sessionFields(), &session)

	names := make([]string, len(c.Mounts))
	for i, m := range c.Mounts {
		names[i] = m.Name
		if m.Name == "" {
			names[i] = string(m.Type)
		}
	}
	keys := uniqueKeys(names)
	e.index(prefixRead, "mounts", keys, "--volume")
	for i := range c.Mounts {
		encodeFields(e, "mounts|"+keys[i]+"/", mountFields(), &c.Mounts[i])
	}

	names = make([]string, len(c.Endpoints))
	for i, n := range c.Endpoints {
		names[i] = n.Network
	}
	keys = uniqueKeys(names)
	e.index(prefixRead, "networks", keys, "--network")
	for i := range c.Endpoints {
		encodeFields(e, "networks|"+keys[i]+"/", endpointFields(), &c.Endpoints[i])
	}

	encodeAnnotations(e, c.Annotations)
	return e.finish()
}

// DecodeContainer reads a container from its keys. Inside the guest the hidden
// ones are missing, and so are their fields. A newer format is
// ErrFailedPrecondition, no configuration at all ErrNotFound.
func DecodeContainer(get Getter) (spec.Container, error) {
	var c spec.Container
	if err := checkFormat(get, KindContainer); err != nil {
		return c, err
	}
	if err := decodeFields(get, "", containerFields(), &c); err != nil {
		return c, err
	}
	var s session
	if err := decodeFields(get, "sessions|"+escapeKey(c.ID)+"/", sessionFields(), &s); err != nil {
		return c, err
	}
	c.Process = s.Process

	var err error
	if c.Mounts, err = decodeMap(get, "mounts", mountFields()); err != nil {
		return c, err
	}
	if c.Endpoints, err = decodeMap(get, "networks", endpointFields()); err != nil {
		return c, err
	}
	c.Annotations, err = decodeAnnotations(get)
	return c, err
}

func decodeMap[T any](get Getter, name string, fields []field[T]) ([]T, error) {
	keys, err := decodeIndex(get, prefixRead+name)
	if err != nil || len(keys) == 0 {
		return nil, err
	}
	all := make([]T, len(keys))
	for i, key := range keys {
		if err := decodeFields(get, name+"|"+key+"/", fields, &all[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// encodeAnnotations gives each annotation a key of its own, as each may be large.
func encodeAnnotations(e *encoder, m map[string]string) {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	sort.Strings(names)
	e.index(prefixHidden, "annotations", names, "annotations")
	for _, k := range names {
		text, err := encodeText(m[k])
		if err != nil && e.err == nil {
			e.err = fmt.Errorf("annotation %q: %w", k, err)
		}
		e.put(prefixHidden+"annotations|"+escapeKey(k), text, "annotation "+k)
	}
}

func decodeAnnotations(get Getter) (map[string]string, error) {
	names, err := decodeIndex(get, prefixHidden+"annotations")
	if err != nil || len(names) == 0 {
		return nil, err
	}
	m := make(map[string]string, len(names))
	for _, k := range names {
		key := prefixHidden + "annotations|" + escapeKey(k)
		text, _, err := get(key)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		if m[k], err = decodeText(text); err != nil {
			return nil, fmt.Errorf("value of %s: %w", key, err)
		}
	}
	return m, nil
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// session is what is kept below sessions|<id>: a process and its name.
type session struct {
	Name    string
	Process spec.Process
}
