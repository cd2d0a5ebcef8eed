//go:build !unix

package command

import "syscall"

func ownSession() *syscall.SysProcAttr { return nil }
