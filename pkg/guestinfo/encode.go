package guestinfo

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Limits of one VM's configuration. vSphere refuses or truncates beyond; we
// refuse at create, in words that name the option.
const (
	MaxValue = 64 << 10 // bytes of one value
	MaxTotal = 1 << 20  // bytes of all keys and values
)

// LimitError says which option made the configuration too large. It is an
// ErrInvalidArgument.
type LimitError struct {
	Key    string // the largest key concerned
	Option string // what the user gave ("--env"), or the key's meaning
	Size   int    // bytes
	Limit  int    // bytes
}

func (e *LimitError) Error() string {
	if e.Limit == MaxTotal {
		return fmt.Sprintf("configuration of %d bytes exceeds the limit of %d bytes; the largest part is %s", e.Size, e.Limit, e.Option)
	}
	return fmt.Sprintf("%s needs %d bytes, which exceeds the limit of %d bytes per value (key %s)", e.Option, e.Size, e.Limit, e.Key)
}

// Unwrap gives the error's class.
func (e *LimitError) Unwrap() error { return errdefs.ErrInvalidArgument }

// Getter reads one key. ok is false when the key does not exist (or is empty,
// which vSphere does not tell apart).
type Getter func(key string) (value string, ok bool, err error)

// FromMap is a Getter over keys that are all at hand.
func FromMap(m map[string]string) Getter {
	return func(key string) (string, bool, error) {
		v, ok := m[key]
		return v, ok && v != "", nil
	}
}

// field is one field of T and its key.
type field[T any] struct {
	name   string       // of the key, after the prefix ("cmd/Path")
	at     func(*T) any // pointer to the field
	option string       // what a user calls it; empty: the doc
	doc    string       // meaning, for the key table
	hidden bool         // from the guest
	secret bool         // stored only when sealed
}

func (f field[T]) key(path string) string {
	if f.hidden {
		return prefixHidden + path + f.name
	}
	return prefixRead + path + f.name
}

// encoder gathers keys and remembers what each is called.
type encoder struct {
	out    map[string]string
	option map[string]string
	err    error
}

func newEncoder(kind string) *encoder {
	e := &encoder{out: map[string]string{}, option: map[string]string{}}
	e.put(KeyVersion, strconv.Itoa(spec.FormatVersion), "version")
	e.put(KeyKind, kind, "kind")
	return e
}

func (e *encoder) put(key, value, option string) {
	if value == "" || e.err != nil {
		return
	}
	if len(value) > MaxValue {
		e.err = &LimitError{Key: key, Option: option, Size: len(value), Limit: MaxValue}
		return
	}
	e.out[key], e.option[key] = value, option
}

// index stores the keys of a collection, in its order.
func (e *encoder) index(form, name string, keys []string, option string) {
	text, err := encodeValue(&keys)
	if err != nil && e.err == nil {
		e.err = fmt.Errorf("%s: %w", option, err)
	}
	e.put(form+name, text, option)
}

// finish checks the total and gives the keys.
func (e *encoder) finish() (map[string]string, error) {
	if e.err != nil {
		return nil, e.err
	}
	total, largest := 0, ""
	keys := make([]string, 0, len(e.out))
	for k := range e.out {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		total += len(k) + len(e.out[k])
		if len(e.out[k]) > len(e.out[largest]) {
			largest = k
		}
	}
	if total > MaxTotal {
		return nil, &LimitError{Key: largest, Option: e.option[largest], Size: total, Limit: MaxTotal}
	}
	return e.out, nil
}

// encodeFields stores the fields of v below path ("" or "sessions|<id>/").
func encodeFields[T any](e *encoder, path string, fields []field[T], v *T) {
	for _, f := range fields {
		p := f.at(v)
		if s, ok := p.(*string); ok && f.secret && !IsSealed(*s) {
			continue
		}
		option := f.option
		if option == "" {
			option = f.doc
		}
		text, err := encodeValue(p)
		if err != nil {
			if e.err == nil {
				e.err = fmt.Errorf("%s: %w", option, err)
			}
			return
		}
		e.put(f.key(path), text, option)
	}
}

func decodeFields[T any](get Getter, path string, fields []field[T], v *T) error {
	for _, f := range fields {
		key := f.key(path)
		text, ok, err := get(key)
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		if !ok || text == "" {
			continue
		}
		if err := decodeValue(text, f.at(v)); err != nil {
			return fmt.Errorf("value of %s: %w", key, err)
		}
	}
	return nil
}

// decodeIndex reads the keys of a collection.
func decodeIndex(get Getter, key string) ([]string, error) {
	text, ok, err := get(key)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if !ok || text == "" {
		return nil, nil
	}
	var keys []string
	if err := decodeValue(text, &keys); err != nil {
		return nil, fmt.Errorf("value of %s: %w", key, err)
	}
	return keys, nil
}

// checkFormat refuses what this version cannot read.
func checkFormat(get Getter, kind string) error {
	text, ok, err := get(KeyVersion)
	if err != nil {
		return fmt.Errorf("read %s: %w", KeyVersion, err)
	}
	if !ok {
		return fmt.Errorf("no configuration (%s is not set): %w", KeyVersion, errdefs.ErrNotFound)
	}
	version, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s = %q is no number: %w", KeyVersion, text, errdefs.ErrInvalidArgument)
	}
	if version > spec.FormatVersion {
		return fmt.Errorf("configuration has format version %d, this program knows up to %d: %w",
			version, spec.FormatVersion, errdefs.ErrFailedPrecondition)
	}
	got, _, err := get(KeyKind)
	if err != nil {
		return fmt.Errorf("read %s: %w", KeyKind, err)
	}
	if got != kind {
		return fmt.Errorf("%s = %q, want %q: %w", KeyKind, got, kind, errdefs.ErrInvalidArgument)
	}
	return nil
}

// uniqueKeys gives each name a key of its own, in order.
func uniqueKeys(names []string) []string {
	used := map[string]bool{}
	keys := make([]string, len(names))
	for i, name := range names {
		key := escapeKey(name)
		for n := 2; key == "" || used[key]; n++ {
			// "~" is never in an escaped name, so this cannot collide with one.
			key = escapeKey(name) + "~" + strconv.Itoa(n)
		}
		used[key] = true
		keys[i] = key
	}
	return keys
}

// Diff gives what must be set and what must be deleted to come from the keys of
// old to those of now. Keys of others in old (hardware, guest-written) are left
// alone. In vSphere a key is deleted by setting it to the empty string.
func Diff(old, now map[string]string) (set map[string]string, del []string) {
	set = map[string]string{}
	for k, v := range now {
		if old[k] != v {
			set[k] = v
		}
	}
	for k, v := range old {
		if _, ok := now[k]; !ok && v != "" && Owned(k) {
			del = append(del, k)
		}
	}
	sort.Strings(del)
	return set, del
}

// Kind tells what VM a configuration is for: KindContainer, KindAppliance, or
// "" when it is none of ours.
func Kind(get Getter) (string, error) {
	text, _, err := get(KeyKind)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", KeyKind, err)
	}
	return strings.TrimSpace(text), nil
}
