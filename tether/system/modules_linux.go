package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Loaded says how long one module took.
type Loaded struct {
	File string
	Took time.Duration
}

// LoadModules loads one phase of the list in dir and removes the files, whose
// bytes are memory (the initramfs). All failures are joined: a module that
// fails does not keep the others from being loaded.
func LoadModules(dir string, late bool) ([]Loaded, error) {
	text, err := os.ReadFile(filepath.Join(dir, "load"))
	if err != nil {
		return nil, fmt.Errorf("load list: %w", err)
	}
	list, err := ParseLoadList(string(text))
	if err != nil {
		return nil, err
	}
	devices, err := PCIModaliases()
	if err != nil {
		return nil, err
	}
	var done []Loaded
	var errs []error
	for _, m := range Wanted(list, late, devices) {
		begin := time.Now()
		file := filepath.Join(dir, m.File)
		errs = append(errs, LoadModule(file, m.Options))
		done = append(done, Loaded{m.File, time.Since(begin)})
	}
	for _, m := range list {
		if m.Late == late {
			_ = os.Remove(filepath.Join(dir, m.File))
		}
	}
	return done, errors.Join(errs...)
}
