package qemu

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// record is what a later process of the lab needs to find a VM again.
type record struct {
	PID int `json:"pid"`
	// Started tells the process apart from a later one with the same PID.
	Started string `json:"started"`
	Name    string `json:"name"`
	Accel   string `json:"accel"`
	// NICs are the places of the cards, by MAC address. A record without them is
	// of a VM that has its cards in the order of its hardware.
	NICs map[string]place `json:"nics,omitempty"`
}

// place is where QEMU has a network card: the number in its names, and its PCI
// slot.
type place struct {
	Number int `json:"number"`
	Slot   int `json:"slot"`
}

func (p Paths) record() string { return filepath.Join(p.Run, "vm.json") }
func (p Paths) stderr() string { return filepath.Join(p.Run, "log") }

func (r record) save(p Paths) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.record()+"~", b, 0o600); err != nil {
		return fmt.Errorf("record VM: %w", err)
	}
	if err := os.Rename(p.record()+"~", p.record()); err != nil {
		return fmt.Errorf("record VM: %w", err)
	}
	return nil
}

// loadRecord fails if there is none.
func loadRecord(p Paths) (record, error) {
	var r record
	b, err := os.ReadFile(p.record())
	if err != nil {
		return r, fmt.Errorf("record of VM: %w", err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("record of VM %s: %w", p.record(), err)
	}
	return r, nil
}

// stderrText is what QEMU said, for an error message.
func stderrText(p Paths) string {
	const most = 2048
	b, _ := os.ReadFile(p.stderr())
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}
