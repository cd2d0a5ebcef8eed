package proc

import (
	"github.com/vic-engine/vic/pkg/spec"
)

// Resolve gives where the path name of the container lies on the host: symbolic
// links are followed as the container sees them, also to what is not there.
func Resolve(root, name string) (string, error) { return resolve(root, name) }

// Owner gives the user and the group that the process p has in root, by the
// root's own passwd and group files. An error is a *spec.StartError.
func Owner(root string, p spec.Process) (uid, gid int, err error) {
	a, err := lookupUser(root, p)
	return int(a.uid), int(a.gid), err
}
