package system

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenSerial opens a UART ("/dev/ttyS0") for bytes as they are: no echo, no line
// editing, no translation, no signals, 8 bits. The file has deadlines and its
// Close ends a Read.
func OpenSerial(dev string) (*os.File, error) {
	f, err := os.OpenFile(dev, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("serial port: %w", err)
	}
	if err := control(f, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return err
		}
		t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
		t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
		t.Ispeed, t.Ospeed = unix.B115200, unix.B115200
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		return unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}); err != nil {
		f.Close()
		return nil, fmt.Errorf("serial port %s: raw mode: %w", dev, err)
	}
	return f, nil
}

// Drain waits until a UART has sent what was written to it.
func Drain(f *os.File) error {
	if err := control(f, func(fd int) error { return unix.IoctlSetInt(fd, unix.TCSBRK, 1) }); err != nil {
		return fmt.Errorf("drain %s: %w", f.Name(), err)
	}
	return nil
}

// control runs fn on the descriptor without making the file blocking, which
// os.File.Fd would.
func control(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = fn(int(fd)) }); err != nil {
		return err
	}
	return inner
}
