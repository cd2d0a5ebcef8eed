package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Kernel files that a container may not see, or not write: Docker's (oci/defaults.go).
func maskedPaths() []string {
	return []string{
		"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
		"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap",
	}
}

func readOnlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// HidePaths hides some paths of a container's root and makes others read-only, as
// runc does. Links are followed inside the root. What is not there is fine.
func HidePaths(root string, masked, readOnly []string) error {
	top, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", root, err)
	}
	defer unix.Close(top)
	for _, p := range masked {
		if err := within(top, p, mask); err != nil && !absent(err) {
			return fmt.Errorf("hide %s: %w", p, err)
		}
	}
	for _, p := range readOnly {
		err := within(top, p, func(where string) error {
			return unix.Mount(where, where, "", unix.MS_BIND|unix.MS_REC, "")
		})
		if err == nil {
			err = within(top, p, freeze) // opened anew: what is mounted there now
		}
		if err != nil && !absent(err) {
			return fmt.Errorf("make %s read-only: %w", p, err)
		}
	}
	return nil
}

func absent(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// within calls do with a name for what a process with this root would find at path.
func within(root int, path string, do func(where string) error) error {
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return do(fmt.Sprintf("/proc/self/fd/%d", fd))
}

// mask hides a file behind /dev/null and a folder behind an empty one.
func mask(where string) error {
	st, err := os.Stat(where)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return unix.Mount("tmpfs", where, "tmpfs", unix.MS_RDONLY|safe, "size=0")
	}
	return unix.Mount("/dev/null", where, "", unix.MS_BIND, "")
}

// freeze makes a mount read-only. The flags that it has must be given again; those
// of statfs(2) have the same values as mount(2)'s.
func freeze(where string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(where, &st); err != nil {
		return err
	}
	have := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	return unix.Mount("", where, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|have, "")
}

// MakeDevice makes a device node inside root, for everybody as Docker's are, where
// the user wants it. One that is there is left alone.
func MakeDevice(root, path string, block bool, major, minor uint32) error {
	dir, name := filepath.Split(filepath.Clean("/" + path))
	folder, err := MakeInRoot(root, dir)
	if err != nil {
		return fmt.Errorf("device %s: %w", path, err)
	}
	mode := uint32(unix.S_IFCHR | 0o666)
	if block {
		mode = unix.S_IFBLK | 0o660
	}
	to := folder + "/" + name
	if err := unix.Mknod(to, mode, int(unix.Mkdev(major, minor))); errors.Is(err, unix.EEXIST) {
		return nil
	} else if err != nil {
		return fmt.Errorf("device %s: %w", path, err)
	}
	if err := os.Chmod(to, os.FileMode(mode&0o777)); err != nil { // whatever the umask is
		return fmt.Errorf("device %s: %w", path, err)
	}
	return nil
}
