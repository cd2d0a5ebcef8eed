//go:build unix

package command

import "syscall"

// ownSession lets the daemon outlive the terminal.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
