package system

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// PCIModaliases are the identities of the PCI devices that are present.
func PCIModaliases() ([]string, error) {
	files, err := filepath.Glob("/sys/bus/pci/devices/*/modalias")
	if err != nil {
		return nil, err
	}
	var list []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("identify PCI device %s: %w", f, err)
		}
		list = append(list, strings.TrimSpace(string(b)))
	}
	return list, nil
}

// LoadModule loads one module file with its parameters. One that is loaded already is fine.
func LoadModule(file, options string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), options, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}

// maxModule bounds what one module of the disc may have, unpacked.
const maxModule = 64 << 20

// loadSqueezed loads a module of the disc.
func loadSqueezed(file, options string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	data, err := io.ReadAll(io.LimitReader(z, maxModule))
	if err != nil {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	if err := unix.InitModule(data, options); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", file, err)
	}
	return nil
}

// Loaded says how long one module took.
type Loaded struct {
	File string
	Took time.Duration
}

// LoadModules loads one phase of the list in dir and removes the files, whose
// bytes are memory (the initramfs); those that lie on the disc are read from where
// it is mounted, which mount tells and is asked only for them. All failures are joined: a module that
// fails does not keep the others from being loaded. Modules on demand that
// failed keep their files, for another attempt; those whose file is gone were
// loaded before.
func LoadModules(dir string, phase Phase, mount func() (disc string, err error)) ([]Loaded, error) {
	text, err := os.ReadFile(filepath.Join(dir, "load"))
	if err != nil {
		return nil, fmt.Errorf("load list: %w", err)
	}
	list, err := ParseLoadList(string(text))
	if err != nil {
		return nil, err
	}
	disc := ""
	if OnDisc(list, phase) {
		if disc, err = mount(); err != nil {
			return nil, fmt.Errorf("kernel modules for %q: %w", phase, err)
		}
	}
	devices, err := PCIModaliases()
	if err != nil {
		return nil, err
	}
	automatic := phase == Now || phase == Late
	var done []Loaded
	var errs []error
	for _, m := range Wanted(list, phase, devices) {
		begin := time.Now()
		if strings.HasSuffix(m.File, onDisc) {
			errs = append(errs, loadSqueezed(filepath.Join(disc, m.File), m.Options))
			done = append(done, Loaded{m.File, time.Since(begin)})
			continue
		}
		file := filepath.Join(dir, m.File)
		err := LoadModule(file, m.Options)
		if !automatic && errors.Is(err, os.ErrNotExist) {
			continue
		}
		errs = append(errs, err)
		if !automatic && err == nil {
			_ = os.Remove(file)
		}
		done = append(done, Loaded{m.File, time.Since(begin)})
	}
	if !automatic && len(Wanted(list, phase, devices)) == 0 {
		errs = append(errs, fmt.Errorf("kernel modules for %q: this image has none", phase))
	}
	for _, m := range list {
		if automatic && slices.Contains(m.Phases, phase) {
			_ = os.Remove(filepath.Join(dir, m.File))
		}
	}
	return done, errors.Join(errs...)
}
