package engine

import (
	"path"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// isDockerSocket tells the one host path that a container can have: the socket of
// the Docker API, by both of its names.
func isDockerSocket(source string) bool {
	source = path.Clean(source)
	return source == "/var/run/docker.sock" || source == "/run/docker.sock"
}

// whyNoSocket is what a user can do about a socket that is not allowed.
const whyNoSocket = "this VCH does not let containers reach its Docker API; a VCH that does is made with vic-machine create --docker-socket"

// socketPlan is a bind of the Docker API's socket.
func socketPlan(source, dst string, readOnly, allowed bool) (volumePlan, error) {
	if !allowed {
		return volumePlan{}, forbidden("bind mount of %s: %s", source, whyNoSocket)
	}
	return volumePlan{
		Mount:     spec.Mount{Type: spec.MountSocket, Path: dst, Source: path.Clean(source), ReadOnly: readOnly, NoCopy: true},
		Inherited: true, // nothing is to be made for it
	}, nil
}

// bindSocket is one -v whose source may be the socket; is is false when it is not.
// A socket has no use for the rest of the mode but is checked for it.
func bindSocket(raw string, allowed bool) (p volumePlan, is bool, err error) {
	source, dst, mode, ok := cutBind(raw)
	if !ok || !isDockerSocket(source) {
		return p, false, nil
	}
	if !validMode(mode) {
		return p, true, invalid("invalid mode: %s", mode)
	}
	words := bindWords(mode)
	if slices.Contains(words, "nocopy") || slices.Contains(words, "copy") {
		return p, true, invalid("invalid mode: %s", mode)
	}
	dst, err = mountPath(dst)
	if err != nil {
		return p, true, invalid("invalid volume specification: '%s': %v", raw, err)
	}
	p, err = socketPlan(source, dst, slices.Contains(words, "ro"), allowed)
	return p, true, err
}

// mountSocket is one --mount type=bind of the socket.
func mountSocket(m *MountRequest, allowed bool) (volumePlan, error) {
	bad := func(format string, a ...any) (volumePlan, error) {
		return volumePlan{}, invalid("invalid mount config for type %q: %v", m.Type, invalid(format, a...))
	}
	dst, err := mountPath(m.Target)
	if err != nil {
		return bad("%v", err)
	}
	if m.VolumeOptions != nil {
		return bad("field VolumeOptions must not be specified")
	}
	if m.TmpfsOptions != nil {
		return bad("field TmpfsOptions must not be specified")
	}
	if isSet(m.ImageOptions) {
		return bad("field ImageOptions must not be specified")
	}
	if how := propagation(m.BindOptions); how != "" && !slices.Contains(propagations(), how) {
		return bad("invalid propagation mode: %s", how)
	}
	return socketPlan(m.Source, dst, m.ReadOnly, allowed)
}

// propagation is the one of BindOptions that Docker checks. What bind options say
// has no effect on a socket: nothing is ever mounted below it.
func propagation(options any) string {
	o, _ := options.(map[string]any)
	how, _ := o["Propagation"].(string)
	return how
}

// boundMode is how inspect shows a bind of a socket: the mode of -v and the
// propagation.
func boundMode(s *Stored, at string) (mode, how string) {
	how = "rprivate" // Docker's default
	for _, raw := range s.host.Binds {
		source, dst, m, ok := cutBind(raw)
		if !ok || !isDockerSocket(source) || path.Clean(dst) != at {
			continue
		}
		mode = m
		for _, w := range bindWords(m) {
			if slices.Contains(propagations(), w) {
				how = w
			}
		}
	}
	for i := range s.host.Mounts {
		if m := &s.host.Mounts[i]; m.Type == "bind" && path.Clean(m.Target) == at {
			if p := propagation(m.BindOptions); p != "" {
				how = p
			}
		}
	}
	return mode, how
}

// cutBind splits "SOURCE:PATH[:MODE]".
func cutBind(raw string) (source, dst, mode string, ok bool) {
	parts := strings.SplitN(raw, ":", 4)
	switch len(parts) {
	case 2:
		return parts[0], parts[1], "", true
	case 3:
		return parts[0], parts[1], parts[2], true
	}
	return "", "", "", false
}

func bindWords(mode string) []string { return strings.Split(mode, ",") }
