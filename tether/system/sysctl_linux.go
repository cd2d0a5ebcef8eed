package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// Sysctl sets one kernel parameter by its dotted name.
func Sysctl(name, value string) error {
	p, err := sysctlPath(name)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join("/proc/sys", p), []byte(value), 0); err != nil {
		return fmt.Errorf("sysctl %s = %s: %w", name, value, err)
	}
	return nil
}

// Sysctls sets many, in the order of their names; failures are joined.
func Sysctls(m map[string]string) error {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	var errs []error
	for _, n := range names {
		errs = append(errs, Sysctl(n, m[n]))
	}
	return errors.Join(errs...)
}

// Memory is the guest's memory in bytes.
type Memory struct{ Total, Available int64 }

// ReadMemory reads /proc/meminfo.
func ReadMemory() (Memory, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Memory{}, fmt.Errorf("memory use: %w", err)
	}
	return parseMeminfo(string(b)), nil
}

func parseMeminfo(text string) Memory {
	var m Memory
	for _, l := range strings.Split(text, "\n") {
		k, v, _ := strings.Cut(l, ":")
		n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
		switch k {
		case "MemTotal":
			m.Total = n << 10
		case "MemAvailable":
			m.Available = n << 10
		}
	}
	return m
}
