//go:build !linux

package qemu

import (
	"context"
	"fmt"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// process is empty here: VMs run on Linux only, where a pidfd holds them.
type process struct{ pid int }

var errLinux = fmt.Errorf("the lab runs VMs on Linux only: %w", errdefs.ErrNotImplemented)

func openProcess(int, string) (*process, error)  { return nil, errLinux }
func (p *process) close()                        {}
func (p *process) wait(context.Context) error    { return errLinux }
func (p *process) signal(syscall.Signal) error   { return errLinux }
func (p *process) usage() (machine.Usage, error) { return machine.Usage{}, errLinux }
func ownGroup() *syscall.SysProcAttr             { return nil }
func startedAt(int) (string, error)              { return "", errLinux }
