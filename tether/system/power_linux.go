package system

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// PowerOff ends the VM. It returns only on failure. What must reach a disk is
// unmounted or synced before.
func PowerOff() error { return reboot(unix.LINUX_REBOOT_CMD_POWER_OFF, "power off") }

// Reboot restarts the VM. It returns only on failure.
func Reboot() error { return reboot(unix.LINUX_REBOOT_CMD_RESTART, "reboot") }

func reboot(cmd int, what string) error {
	if err := unix.Reboot(cmd); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: the kernel returned", what)
}

// IgnoreCtrlAltDel makes the kernel send PID 1 a SIGINT instead of rebooting
// at once.
func IgnoreCtrlAltDel() error {
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return fmt.Errorf("take over ctrl-alt-del: %w", err)
	}
	return nil
}

// Sync writes everything to the disks.
func Sync() { unix.Sync() }

// SyncFilesystem writes everything of the filesystem mounted at dir to its disk, or
// to its server, for as long as that takes.
func SyncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// SetConsoleLevel sets which kernel messages the console shows: those with a
// lower number than level (1-8). Messages of PID 1 go the same way.
func SetConsoleLevel(level int) error {
	const consoleLevel = 8 // SYSLOG_ACTION_CONSOLE_LEVEL, syslog(2)
	_, _, e := unix.Syscall(unix.SYS_SYSLOG, consoleLevel, 0, uintptr(level))
	if e != 0 {
		return fmt.Errorf("console level %d: %w", level, e)
	}
	return nil
}

// Hostname sets the kernel's host name.
func Hostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("hostname %q: %w", name, err)
	}
	return nil
}

// Domainname sets the kernel's NIS domain name, where Docker puts it too.
func Domainname(name string) error {
	if err := unix.Setdomainname([]byte(name)); err != nil {
		return fmt.Errorf("domainname %q: %w", name, err)
	}
	return nil
}

// Kmsg opens the kernel's log for writing: one Write is one record, "<6>text".
// The console prints it by polling, so no interrupt of a UART is needed.
func Kmsg() (*os.File, error) { return os.OpenFile("/dev/kmsg", os.O_WRONLY, 0) }
