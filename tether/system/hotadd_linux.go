package system

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// HotAdd is where the kernel shows CPUs and memory that come while it runs.
type HotAdd struct {
	Sys string // where sysfs is mounted
}

// Enlarge uses the CPUs and memory that are there and not used yet, and waits for
// more until there are as many as want says, or ctx ends (ErrUnavailable). It listens
// to the kernel's device events first, then looks, as Disk does.
//
// Memory is counted in blocks, and a block that the guest has in part is one: it
// cannot be told from a whole one, and what comes is made of whole ones.
func (h HotAdd) Enlarge(ctx context.Context, want spec.Size) error {
	have, err := h.use()
	if err != nil || enough(have, want) {
		return err
	}
	ev, err := listenUevents()
	if err != nil {
		return fmt.Errorf("new CPUs and memory: %w", err)
	}
	defer ev.Close()
	for {
		if have, err = h.use(); err != nil || enough(have, want) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("there are %d CPUs of %d, and %d MiB of memory of %d: %w", have.CPUs, want.CPUs, have.MemoryMB, want.MemoryMB, errdefs.ErrUnavailable)
		}
		if _, err := ev.wait(ctx); err != nil {
			return fmt.Errorf("new CPUs and memory: %w", err)
		}
	}
}

func enough(have, want spec.Size) bool {
	return have.CPUs >= want.CPUs && have.MemoryMB >= want.MemoryMB
}

// use takes what is there into use, and tells how much that is.
func (h HotAdd) use() (have spec.Size, err error) {
	if have.CPUs, err = h.cpus(); err != nil {
		return have, fmt.Errorf("CPUs: %w", err)
	}
	if have.MemoryMB, err = h.memory(); err != nil {
		return have, fmt.Errorf("memory: %w", err)
	}
	return have, nil
}

func (h HotAdd) cpus() (int, error) {
	dir := filepath.Join(h.Sys, "devices/system/cpu")
	present, err := readSet(filepath.Join(dir, "present"))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, cpu := range present {
		// CPU 0 cannot be turned off, and has no such file.
		err := turnOn(filepath.Join(dir, "cpu"+strconv.Itoa(cpu), "online"), "0", "1")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, err
		}
		n++
	}
	return n, nil
}

func (h HotAdd) memory() (mb int64, err error) {
	dir := filepath.Join(h.Sys, "devices/system/memory")
	text, err := os.ReadFile(filepath.Join(dir, "block_size_bytes"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("the kernel takes no memory while it runs: %w", errdefs.ErrNotImplemented)
	}
	if err != nil {
		return 0, err
	}
	block, err := strconv.ParseInt(strings.TrimSpace(string(text)), 16, 64) // without 0x: print_block_size of drivers/base/memory.c
	if err != nil {
		return 0, fmt.Errorf("size of a block: %w", err)
	}
	list, err := filepath.Glob(filepath.Join(dir, "memory[0-9]*", "state"))
	if err != nil {
		return 0, err
	}
	for _, state := range list {
		if err := turnOn(state, "offline", "online"); err != nil {
			return 0, err
		}
		mb += block >> 20
	}
	return mb, nil
}

// turnOn writes on where a file says off.
func turnOn(file, off, on string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if strings.TrimSpace(string(b)) != off {
		return nil
	}
	return os.WriteFile(file, []byte(on), 0)
}

// readSet reads a file with a set of numbers.
func readSet(file string) ([]int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	set, err := parseSet(string(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return set, nil
}
