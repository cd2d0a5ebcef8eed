package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// DefaultPath is the PATH of a process whose environment has none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxLinks is how many symbolic links a path may lead through, as in Linux.
const maxLinks = 40

// resolve gives where the path name of the container lies on the host:
// symbolic links are followed as the container sees them, so that nothing
// leads out of root. What does not exist is kept as it is.
func resolve(root, name string) (string, error) {
	rest := strings.Split(path.Clean("/"+name), "/")
	at := "/" // resolved so far, as the container sees it
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		target, err := os.Readlink(filepath.Join(root, next))
		if err != nil { // no link, or nothing there
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "stat", Path: name, Err: errors.New("too many levels of symbolic links")}
		}
		if path.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return filepath.Join(root, at), nil
}

// identity is who the process will be, to judge what it may execute.
type identity struct {
	uid, gid uint32
	groups   []uint32
}

func (id identity) inGroup(gid uint32) bool {
	for _, g := range id.groups {
		if g == gid {
			return true
		}
	}
	return id.gid == gid
}

// findProgram gives the path, as the container sees it, of the program name.
// Errors are *spec.StartError in the words that Docker uses.
func findProgram(root, name, dir, pathEnv string, id identity) (string, error) {
	if strings.Contains(name, "/") {
		full := name
		if !path.IsAbs(full) {
			full = path.Join(dir, name)
		}
		if err := executable(root, full, id); err != nil {
			return "", startError(name, err)
		}
		return full, nil
	}
	for _, d := range strings.Split(pathEnv, ":") {
		if d == "" {
			d = "."
		}
		if !path.IsAbs(d) {
			d = path.Join(dir, d)
		}
		full := path.Join(d, name)
		if name != "" && executable(root, full, id) == nil {
			return full, nil
		}
	}
	return "", &spec.StartError{Code: spec.ExitNotFound, Msg: fmt.Sprintf("exec: %q: executable file not found in $PATH", name)}
}

var errIsDirectory = errors.New("is a directory")

func executable(root, name string, id identity) error {
	at, err := resolve(root, name)
	if err != nil {
		return err
	}
	info, err := os.Stat(at)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errIsDirectory
	}
	if !mayExecute(info, id) {
		return fs.ErrPermission
	}
	return nil
}

// startError gives the class and the words for a program that cannot be run.
func startError(name string, err error) *spec.StartError {
	var at *fs.PathError
	switch {
	case errors.Is(err, errIsDirectory):
		return &spec.StartError{Code: spec.ExitNotExecutable, Msg: fmt.Sprintf("exec: %q: is a directory", name)}
	case errors.Is(err, fs.ErrPermission):
		return &spec.StartError{Code: spec.ExitNotExecutable, Msg: fmt.Sprintf("exec: %q: permission denied", name)}
	case errors.Is(err, fs.ErrNotExist):
		return &spec.StartError{Code: spec.ExitNotFound, Msg: fmt.Sprintf("exec: %q: stat %s: no such file or directory", name, name)}
	case errors.As(err, &at):
		err = at.Err
	}
	return &spec.StartError{Code: spec.ExitNotExecutable, Msg: fmt.Sprintf("exec: %q: %v", name, err)}
}

// environ gives the environment of a process: its own entries, and what Docker
// adds when they are absent. The last of several entries of a name counts.
func environ(p spec.Process, home string) []string {
	env := make([]string, 0, len(p.Env)+3)
	at := map[string]int{}
	for _, e := range p.Env {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			continue
		}
		if i, ok := at[name]; ok {
			env[i] = e
			continue
		}
		at[name] = len(env)
		env = append(env, e)
	}
	add := func(name, value string) {
		if _, ok := at[name]; !ok {
			env = append(env, name+"="+value)
		}
	}
	add("PATH", DefaultPath)
	add("HOME", home)
	if p.TTY {
		add("TERM", "xterm")
	}
	return env
}

func lookupEnv(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}
