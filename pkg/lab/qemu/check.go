package qemu

import (
	"errors"
	"fmt"
	"net"
	"net/url"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// Check lists everything about m that this hypervisor can't run.
func Check(m machine.Machine) error {
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, fmt.Errorf(format, a...)) }
	if _, err := uuid.Parse(m.UUID); err != nil {
		bad("UUID %q: %w", m.UUID, err)
	}
	if m.Dir == "" {
		bad("no folder")
	}
	if m.MemoryMB < 4 {
		bad("memory of %d MiB: at least 4", m.MemoryMB)
	}
	if m.CPUs > 128 {
		bad("%d CPUs: at most 128", m.CPUs)
	}
	places := map[[2]int]bool{}
	for _, d := range m.Disks {
		at := [2]int{d.Bus, d.Unit}
		switch {
		case d.Bus < 0 || d.Bus > 3:
			bad("disk %s: no controller scsi%d", d.Path, d.Bus)
		case d.Unit < 0 || d.Unit > 63 || d.Unit == 7:
			bad("disk %s: no unit %d on scsi%d", d.Path, d.Unit, d.Bus)
		case places[at]:
			bad("disk %s: scsi%d:%d is taken", d.Path, d.Bus, d.Unit)
		}
		places[at] = true
	}
	if len(m.NICs) > maxNICs {
		bad("%d NICs: at most %d", len(m.NICs), maxNICs)
	}
	for i, n := range m.NICs {
		if mac, err := net.ParseMAC(n.MAC); err != nil || len(mac) != 6 {
			bad("NIC %d: MAC address %q", i, n.MAC)
		}
	}
	if len(m.Serials) > 4 {
		bad("%d serial ports: at most 4", len(m.Serials))
	}
	for i, s := range m.Serials {
		if s.File == "" && s.URI != "" {
			if _, err := serialAddr(s.URI); err != nil {
				bad("serial port %d: %w", i, err)
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("VM %s: %w: %w", m.Name, errors.Join(errs...), errdefs.ErrInvalidArgument)
}

// serialAddr is the host:port of a network port's URI.
func serialAddr(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fmt.Errorf("URI: %w", err)
	}
	if u.Scheme != "tcp" && u.Scheme != "telnet" {
		return "", fmt.Errorf("URI %s: only tcp:// is served", uri)
	}
	if u.Port() == "" {
		return "", fmt.Errorf("URI %s: no port", uri)
	}
	return u.Host, nil
}
