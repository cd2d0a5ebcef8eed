package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pvscsi is how the driver of VMware's paravirtual SCSI adapter names itself.
const pvscsi = "vmw_pvscsi"

// A Bus is one SCSI adapter. Unit n of a virtual machine's controller is target
// n, LUN 0 of the guest's host.
type Bus struct {
	sys  string // folder with class/scsi_host and bus/scsi/devices
	host string // "host0"
}

// PVSCSI finds the first paravirtual SCSI adapter: scsi0 of the VM.
func PVSCSI() (*Bus, error) { return findBus("/sys") }

func findBus(sys string) (*Bus, error) {
	hosts, err := filepath.Glob(filepath.Join(sys, "class/scsi_host/host*"))
	if err != nil {
		return nil, err
	}
	for _, h := range hosts { // in order: host0 before host1
		name, err := os.ReadFile(filepath.Join(h, "proc_name"))
		if err == nil && strings.TrimSpace(string(name)) == pvscsi {
			return &Bus{sys: sys, host: filepath.Base(h)}, nil
		}
	}
	return nil, errors.New("no PVSCSI adapter (is the VM's scsi0 a pvscsi controller, and vmw_pvscsi loaded?)")
}

// Disk gives the device ("/dev/sda") of a unit, waiting for the kernel to find
// it until ctx ends. It listens to the kernel's device events first, then
// looks, so nothing is missed and nothing polled.
func (b *Bus) Disk(ctx context.Context, unit int) (string, error) {
	if dev := b.disk(unit); dev != "" {
		return dev, nil
	}
	ev, err := listenUevents()
	if err != nil {
		return "", fmt.Errorf("disk scsi0:%d: %w", unit, err)
	}
	defer ev.Close()
	rescanned := false
	for {
		if dev := b.disk(unit); dev != "" {
			return dev, nil
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("disk scsi0:%d is not there: %w", unit, ctx.Err())
		}
		quiet, err := ev.wait(ctx)
		if err != nil {
			return "", fmt.Errorf("disk scsi0:%d: %w", unit, err)
		}
		if quiet && !rescanned { // a disk that was added to the running VM may go unnoticed
			if err := b.Rescan(); err != nil {
				return "", err
			}
			rescanned = true
		}
	}
}

func (b *Bus) disk(unit int) string {
	dir := filepath.Join(b.sys, "bus/scsi/devices", fmt.Sprintf("%s:0:%d:0", strings.TrimPrefix(b.host, "host"), unit), "block")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return ""
	}
	dev := filepath.Join("/dev", entries[0].Name())
	if _, err := os.Stat(dev); err != nil {
		return ""
	}
	return dev
}

// Rescan makes the kernel look for disks that were added to the running VM.
func (b *Bus) Rescan() error {
	err := os.WriteFile(filepath.Join(b.sys, "class/scsi_host", b.host, "scan"), []byte("- - -"), 0)
	if err != nil {
		return fmt.Errorf("rescan SCSI %s: %w", b.host, err)
	}
	return nil
}

// uevents are the kernel's messages about devices.
type uevents struct{ f *os.File }

func listenUevents() (*uevents, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, fmt.Errorf("device events: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("device events: %w", err)
	}
	return &uevents{f: os.NewFile(uintptr(fd), "uevents")}, nil
}

// quietTime is how long no event means that the kernel has found all it will
// find by itself.
const quietTime = time.Second

// wait returns after the next event; quiet is true when there was none for
// quietTime or until ctx ended.
func (u *uevents) wait(ctx context.Context) (quiet bool, err error) {
	until := time.Now().Add(quietTime)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	if err := u.f.SetReadDeadline(until); err != nil {
		return false, err
	}
	stop := context.AfterFunc(ctx, func() { _ = u.f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err = u.f.Read(make([]byte, 8192))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	case errors.Is(err, unix.ENOBUFS): // events were lost: look again
		return false, nil
	}
	return false, err
}

func (u *uevents) Close() error { return u.f.Close() }

// Ext4 says whether a device holds an ext4 filesystem (or its elders): magic
// 0xEF53 at byte 0x438.
func Ext4(dev string) (bool, error) {
	f, err := os.Open(dev)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", dev, err)
	}
	defer f.Close()
	b := make([]byte, 2)
	if _, err := f.ReadAt(b, 0x438); err != nil {
		return false, fmt.Errorf("look at %s: %w", dev, err)
	}
	return b[0] == 0x53 && b[1] == 0xef, nil
}

// Blank says whether the first MiB of a device holds nothing but zeros, so
// that formatting it destroys nothing.
func Blank(dev string) (bool, error) {
	f, err := os.Open(dev)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", dev, err)
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	n, err := f.Read(b)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", dev, err)
	}
	for _, c := range b[:n] {
		if c != 0 {
			return false, nil
		}
	}
	return true, nil
}
