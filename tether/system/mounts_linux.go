package system

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Mount is one mount(2). Target is made (a folder) when it is not there.
type Mount struct {
	Source, Target, Type string
	Flags                uintptr
	Data                 string
}

// Do mounts it.
func (m Mount) Do() error {
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return fmt.Errorf("mount point %s: %w", m.Target, err)
	}
	if err := unix.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data); err != nil {
		return fmt.Errorf("mount %s (%s) on %s: %w", m.Source, m.Type, m.Target, err)
	}
	return nil
}

// safe is what a filesystem that holds no programs or devices gets.
const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// Pseudo are the kernel's filesystems as PID 1 itself needs them.
func Pseudo() []Mount {
	return []Mount{
		{"proc", "/proc", "proc", safe, ""},
		{"sysfs", "/sys", "sysfs", safe, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755"},
		{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755,size=16m"},
		{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	}
}

// CgroupDir is where Cgroups mounts the hierarchy.
const CgroupDir = "/sys/fs/cgroup"

// Cgroups mounts the kernel's control groups. Not with nsdelegate: then nobody in
// the container's cgroup namespace could start a process in its group from ours,
// which an exec is (cgroup_procs_write_permission of kernel/cgroup/cgroup.c).
func Cgroups() error {
	return Mount{"cgroup2", CgroupDir, "cgroup2", safe, "memory_recursiveprot"}.Do()
}

// Ext4Idle are mount options without which a thread of ext4's works on its own:
// it zeroes inode tables, gigabytes on a large thin disk, and reads all bitmaps.
const Ext4Idle = "noinit_itable,no_prefetch_block_bitmaps"

// MountAll mounts a list in order and stops at the first failure.
func MountAll(list []Mount) error {
	for _, m := range list {
		if err := m.Do(); err != nil {
			return err
		}
	}
	return nil
}

// Unmount detaches target at once and lets the kernel finish when its last
// user is gone. Something that is not mounted is fine.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// Seal makes the filesystem mounted at target read-only for everybody, which
// writes its journal out and marks it clean: what an unmount does, without
// waiting for those who still look at it. It fails while a file is open for
// writing.
func Seal(target string) error {
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("seal %s: %w", target, err)
	}
	return nil
}
