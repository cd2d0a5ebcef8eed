package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxFile bounds a policy file, in bytes: it is kept as one value of the VCH's
// configuration.
const MaxFile = 48 << 10

// maxPolicies bounds the policies of one file.
const maxPolicies = 500

// FileForm is the form of a policy file, as errors tell it.
const FileForm = "YAML or JSON: policies: a list of name and rules, each rule a text like deny tcp/80 from tier=frontend to tier=frontend"

// file is a policy file.
type file struct {
	Policies []filePolicy `yaml:"policies"`
}

type filePolicy struct {
	Name  string   `yaml:"name"`
	Rules []string `yaml:"rules"`
}

// ParseFile reads a policy file, whose rules are valid on all networks:
//
//	policies:
//	- name: tiers
//	  rules:
//	  - deny tcp/80 from tier=frontend to tier=frontend
//
// JSON of the same form is read too. An error is ErrInvalidArgument; all problems
// are joined.
func ParseFile(text []byte) ([]Policy, error) {
	if len(text) > MaxFile {
		return nil, invalid("it has %d bytes: the limit is %d", len(text), MaxFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	var f file
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, invalid("%s; the form is %s", strings.ReplaceAll(err.Error(), "\n", " "), FileForm)
	}
	if err := d.Decode(new(file)); !errors.Is(err, io.EOF) {
		return nil, invalid("there is more than one document in it")
	}
	if len(f.Policies) == 0 || len(f.Policies) > maxPolicies {
		return nil, invalid("%d policies, want 1 to %d; the form is %s", len(f.Policies), maxPolicies, FileForm)
	}
	var out []Policy
	var errs []error
	seen := map[string]bool{}
	for _, p := range f.Policies {
		switch {
		case !nameOK.MatchString(p.Name):
			errs = append(errs, badName(p.Name))
		case seen[p.Name]:
			errs = append(errs, invalid("policy %s is there twice", p.Name))
		case len(p.Rules) == 0:
			errs = append(errs, invalid("policy %s has no rules", p.Name))
		}
		seen[p.Name] = true
		rules, err := parseAll(p.Rules)
		if err != nil {
			errs = append(errs, fmt.Errorf("policy %s: %w", p.Name, err))
		}
		out = append(out, Policy{Name: p.Name, Rules: rules})
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return out, nil
}
