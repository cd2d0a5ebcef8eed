package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/moby/sys/user"

	"github.com/vic-engine/vic/pkg/spec"
)

// account is who the process will be.
type account struct {
	identity
	home string
}

// lookupUser reads the container's own passwd and group files. An image without
// them has numbers only.
func lookupUser(root string, p spec.Process) (account, error) {
	fail := func(err error) (account, error) {
		return account{}, &spec.StartError{Code: spec.ExitRefused, Msg: err.Error()}
	}
	passwd, err := resolve(root, "/etc/passwd")
	if err != nil {
		return fail(err)
	}
	group, err := resolve(root, "/etc/group")
	if err != nil {
		return fail(err)
	}
	u, err := user.GetExecUserPath(p.User, &user.ExecUser{Home: "/"}, passwd, group)
	if err != nil {
		return fail(err)
	}
	a := account{identity: identity{uid: uint32(u.Uid), gid: uint32(u.Gid)}, home: u.Home}
	// The primary group is one of the list too, as with Docker: else a process that
	// changes its primary group would lose what files deny to that group.
	a.groups = []uint32{a.gid}
	for _, g := range u.Sgids {
		a.groups = append(a.groups, uint32(g))
	}
	if len(p.Groups) > 0 {
		more, err := user.GetAdditionalGroupsPath(p.Groups, group)
		if err != nil {
			return fail(err)
		}
		for _, g := range more {
			a.groups = append(a.groups, uint32(g))
		}
	}
	return a, nil
}

// mayExecute judges by the file's mode; root needs any execute bit.
func mayExecute(info fs.FileInfo, id identity) bool {
	mode := info.Mode().Perm()
	if id.uid == 0 {
		return mode&0o111 != 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return mode&0o111 != 0
	}
	switch {
	case st.Uid == id.uid:
		return mode&0o100 != 0
	case id.inGroup(st.Gid):
		return mode&0o010 != 0
	}
	return mode&0o001 != 0
}

// workingDir gives the process's working directory as the container sees it. When
// it is missing it is made, as Docker does, or with need an error in runc's words.
func workingDir(root, dir string, need bool) (string, error) {
	if dir == "" {
		return "/", nil
	}
	at, err := resolve(root, dir)
	if need && err == nil {
		if _, serr := os.Stat(at); errors.Is(serr, fs.ErrNotExist) {
			return "", &spec.StartError{Code: spec.ExitNotFound, Msg: fmt.Sprintf("chdir to cwd (%q) set in config.json failed: no such file or directory", dir)}
		}
	}
	if err == nil {
		err = os.MkdirAll(at, 0o755)
	}
	if err != nil {
		reason := err
		if info, serr := os.Stat(at); serr == nil && !info.IsDir() {
			reason = syscall.ENOTDIR
		}
		return "", &spec.StartError{Code: spec.ExitNotExecutable, Msg: fmt.Sprintf("chdir to cwd (%q): %v", dir, reason)}
	}
	return dir, nil
}
