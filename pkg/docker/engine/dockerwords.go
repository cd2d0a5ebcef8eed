package engine

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"
)

// What is checked here is checked for Docker's words: the port layer and the stores
// check it too, in their own.

var volumeNamePattern = regexp.MustCompile(`^` + nameChars + `+$`)

// checkVolumeName wants a name that Docker's local driver takes.
func checkVolumeName(name string) error {
	switch {
	case len(name) == 1:
		return invalid("create %s: volume name is too short, names should be at least two alphanumeric characters", name)
	case !volumeNamePattern.MatchString(name):
		return invalid("create %s: %q includes invalid characters for a local volume name, only %q are allowed. "+
			"If you intended to pass a host directory, use absolute path", name, name, nameChars)
	}
	return nil
}

// checkImageRef wants a reference or an id. The beginning of an id is a reference too,
// by its form.
func checkImageRef(ref string) error {
	if _, err := reference.ParseAnyReference(ref); err != nil {
		return invalid("%v", err)
	}
	return nil
}

// checkExposed wants every port of ExposedPorts to be a number or a range of them.
func checkExposed(ports map[string]struct{}) error {
	for p := range ports {
		number, _, _ := strings.Cut(p, "/")
		for _, n := range strings.SplitN(number, "-", 2) {
			if _, err := strconv.ParseUint(n, 10, 16); err != nil {
				return invalid("invalid JSON: invalid port '%s': %v", number, errors.Unwrap(err))
			}
		}
	}
	return nil
}
