package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LabelPrefix is what labels of networks begin with that are policies:
// vic.policy.NAME=RULES.
const LabelPrefix = "vic.policy."

// FromLabels reads the policies among a network's labels. What begins like one and
// cannot be read is an error, ErrInvalidArgument; all are joined.
func FromLabels(network string, labels map[string]string) ([]Policy, error) {
	var out []Policy
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		name, ok := strings.CutPrefix(key, LabelPrefix)
		if !ok {
			continue
		}
		rules, err := ParseRules(labels[key])
		if err == nil && !nameOK.MatchString(name) {
			err = badName(name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("label %s: %w", key, err))
			continue
		}
		out = append(out, Policy{Name: name, Network: network, Rules: rules})
	}
	return out, errors.Join(errs...)
}

func badName(name string) error {
	return invalid("policy name %q: want letters, digits, dots, dashes and underscores, at most 63", name)
}
