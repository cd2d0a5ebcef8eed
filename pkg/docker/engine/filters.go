package engine

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

var errUnavailable = errdefs.ErrUnavailable

// Filters are Docker's: for each key the values of which one must match (for
// labels: all).
type Filters map[string][]string

// check refuses keys that the endpoint does not know.
func (f Filters) check(known ...string) error {
	for k := range f {
		if !slices.Contains(known, k) {
			return invalid("invalid filter '%s'", k)
		}
	}
	return nil
}

func (f Filters) has(key string) bool { return len(f[key]) > 0 }

// exact matches when the key is not filtered or one value equals s.
func (f Filters) exact(key, s string) bool {
	return len(f[key]) == 0 || slices.Contains(f[key], s)
}

// match is exact, or one value as a regular expression matches.
func (f Filters) match(key, s string) bool {
	if f.exact(key, s) {
		return true
	}
	for _, v := range f[key] {
		if re, err := regexp.Compile(v); err == nil && re.MatchString(s) {
			return true
		}
	}
	return false
}

// prefix matches when one value begins s.
func (f Filters) prefix(key, s string) bool {
	if f.exact(key, s) {
		return true
	}
	for _, v := range f[key] {
		if strings.HasPrefix(s, v) {
			return true
		}
	}
	return false
}

// labels wants every "key" or "key=value" of the label filter.
func (f Filters) labels(have map[string]string) bool {
	for _, want := range f["label"] {
		k, v, hasValue := strings.Cut(want, "=")
		got, ok := have[k]
		if !ok || (hasValue && got != v) {
			return false
		}
	}
	return true
}

// notLabels is the opposite, for "label!": none may be there.
func (f Filters) notLabels(have map[string]string) bool {
	for _, want := range f["label!"] {
		if (Filters{"label": {want}}).labels(have) {
			return false
		}
	}
	return true
}

// boolean reads a filter that must be true or false.
func (f Filters) boolean(key string, absent bool) (bool, error) {
	values := f[key]
	if len(values) == 0 {
		return absent, nil
	}
	var seen *bool
	for _, v := range values {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return absent, invalid("invalid filter '%s=%v'", key, values)
		}
		if seen != nil && *seen != b {
			return absent, invalid("invalid filter '%s=%v'", key, values)
		}
		seen = &b
	}
	return *seen, nil
}
