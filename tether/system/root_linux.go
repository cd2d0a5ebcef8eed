package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultShmBytes is the size of a container's /dev/shm, as Docker's.
const DefaultShmBytes = 64 << 20

// RootOptions say how a container's root gets its kernel filesystems.
type RootOptions struct {
	ShmBytes   int64 // of /dev/shm; 0 is DefaultShmBytes
	Privileged bool  // all devices, and /proc/sys and /sys writable
	NoShm      bool  // no /dev/shm
	// OwnPaths leaves it to HidePaths what is hidden and read-only.
	OwnPaths bool
	// Cgroup is the folder of the container's control group, which it sees as
	// /sys/fs/cgroup; empty: it sees none.
	Cgroup string
}

// Overlay joins a read-only lower folder and a writable upper one at target.
func Overlay(lower, upper, work, target string, readOnly bool) error {
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
	}
	m := Mount{Source: "overlay", Target: target, Type: "overlay",
		Data: "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work}
	if readOnly {
		m.Flags = unix.MS_RDONLY
	}
	return m.Do()
}

// rootMounts are the kernel filesystems of a container's root, in order.
func rootMounts(root string, o RootOptions) []Mount {
	shm := o.ShmBytes
	if shm == 0 {
		shm = DefaultShmBytes
	}
	in := func(p string) string { return filepath.Join(root, p) }
	sys := uintptr(safe | unix.MS_RDONLY)
	dev := Mount{"tmpfs", in("dev"), "tmpfs", unix.MS_NOSUID | unix.MS_STRICTATIME, "mode=0755,size=64m"}
	if o.Privileged {
		sys = safe
		dev = Mount{"devtmpfs", in("dev"), "devtmpfs", unix.MS_NOSUID, "mode=0755"}
	}
	list := []Mount{
		{"proc", in("proc"), "proc", safe, ""},
		{"sysfs", in("sys"), "sysfs", sys, ""},
		dev,
		{"devpts", in("dev/pts"), "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"mqueue", in("dev/mqueue"), "mqueue", safe, ""},
	}
	if o.Cgroup != "" {
		// A bind is what a mount in a cgroup namespace of the container's would be.
		list = append(list, Mount{o.Cgroup, in("sys/fs/cgroup"), "", unix.MS_BIND, ""})
		if !o.Privileged {
			list = append(list, Mount{"", in("sys/fs/cgroup"), "", unix.MS_BIND | unix.MS_REMOUNT | sys, ""})
		}
	}
	if o.NoShm {
		return list
	}
	return append(list, Mount{"tmpfs", in("dev/shm"), "tmpfs", safe, fmt.Sprintf("mode=1777,size=%d", shm)})
}

// KernelFilesystems mounts proc, sys and dev into a container's root and makes
// the device nodes that programs expect.
func KernelFilesystems(root string, o RootOptions) error {
	if err := MountAll(rootMounts(root, o)); err != nil {
		return err
	}
	if err := deviceNodes(filepath.Join(root, "dev"), o.Privileged); err != nil {
		return err
	}
	if o.Privileged || o.OwnPaths {
		return nil
	}
	return HidePaths(root, maskedPaths(), readOnlyPaths())
}

// deviceNodes makes what is in every container's /dev.
func deviceNodes(dev string, have bool) error {
	if !have {
		for _, n := range []struct {
			name         string
			major, minor uint32
		}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
			p := filepath.Join(dev, n.name)
			if err := unix.Mknod(p, unix.S_IFCHR|0o666, int(unix.Mkdev(n.major, n.minor))); err != nil {
				return fmt.Errorf("device node %s: %w", p, err)
			}
			if err := os.Chmod(p, 0o666); err != nil { // whatever the umask is
				return fmt.Errorf("device node %s: %w", p, err)
			}
		}
	}
	for _, l := range [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
		{"/proc/self/fd/2", "stderr"}, {"/proc/kcore", "core"}, {"pts/ptmx", "ptmx"}} {
		p := filepath.Join(dev, l[1])
		_ = os.Remove(p) // devtmpfs has a ptmx of another instance
		if err := os.Symlink(l[0], p); err != nil {
			return fmt.Errorf("device link: %w", err)
		}
	}
	return nil
}

// BindInRoot mounts the file from over dir/name inside root. The file is made
// when it is not there; a link in its place is replaced, since it may lead
// anywhere.
func BindInRoot(from, root, dir, name string) error {
	folder, err := MakeInRoot(root, dir)
	if err != nil {
		return err
	}
	to := filepath.Join(folder, name)
	st, err := os.Lstat(to)
	if err == nil && !st.Mode().IsRegular() {
		if err := os.Remove(to); err != nil {
			return fmt.Errorf("bind %s: %w", to, err)
		}
		err = os.ErrNotExist
	}
	if errors.Is(err, os.ErrNotExist) {
		err = placeholder(folder, to)
	}
	if err != nil {
		return fmt.Errorf("bind %s: %w", to, err)
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", from, to, err)
	}
	return nil
}

// placeholder makes an empty file to mount another on. The folder keeps its times:
// nothing of the container's changes in it.
func placeholder(folder, file string) error {
	var st unix.Stat_t
	if err := unix.Lstat(folder, &st); err != nil {
		return err
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, folder, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// MakeInRoot makes the folder path inside root, following links as a process
// whose root that is would, and gives where it is for us.
func MakeInRoot(root, path string) (string, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", root, err)
	}
	defer func() { unix.Close(fd) }()
	top := fd
	parts := strings.Split(strings.Trim(filepath.Clean("/"+path), "/"), "/")
	done := "."
	cur, err := openInRoot(top, done)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", root, err)
	}
	defer func() { unix.Close(cur) }()
	for _, p := range parts {
		if p == "" {
			continue
		}
		done = filepath.Join(done, p)
		next, err := openInRoot(top, done)
		if errors.Is(err, unix.ENOENT) {
			if err := unix.Mkdirat(cur, p, 0o755); err != nil {
				return "", fmt.Errorf("make /%s: %w", done, err)
			}
			next, err = openInRoot(top, done)
		}
		if err != nil {
			return "", fmt.Errorf("make /%s: %w", done, err)
		}
		unix.Close(cur)
		cur = next
	}
	where, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", cur))
	if err != nil {
		return "", fmt.Errorf("make /%s: %w", done, err)
	}
	return where, nil
}

func openInRoot(root int, path string) (int, error) {
	return unix.Openat2(root, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}
