package qemu

import (
	"fmt"
	"strings"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// object is something that QEMU makes from properties: a block node, a device, a
// network back end. QEMU takes it as an argument and, while it runs, as JSON.
type object []property

// property has a key in which dots part levels, and a bool, an int or a string.
type property struct {
	key   string
	value any
}

// text is the form of an argument. The property "" is the value without a key.
func (o object) text() string {
	var parts []string
	for _, p := range o {
		v := ""
		switch x := p.value.(type) {
		case bool:
			v = map[bool]string{true: "on", false: "off"}[x]
		default:
			v = esc(fmt.Sprint(x))
		}
		if p.key == "" {
			parts = append(parts, v)
		} else {
			parts = append(parts, p.key+"="+v)
		}
	}
	return strings.Join(parts, ",")
}

// json is the form of a QMP command's arguments; first names the property "".
func (o object) json(first string) map[string]any {
	out := map[string]any{}
	for _, p := range o {
		key, at := p.key, out
		if key == "" {
			key = first
		}
		for {
			level, rest, deeper := strings.Cut(key, ".")
			if !deeper {
				break
			}
			next, ok := at[level].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[level] = next
			}
			at, key = next, rest
		}
		at[key] = p.value
	}
	return out
}

func (o object) get(key string) string {
	for _, p := range o {
		if p.key == key {
			return fmt.Sprint(p.value)
		}
	}
	return ""
}

func controllerID(bus int) string     { return fmt.Sprintf("scsi%d", bus) }
func diskID(d machine.Disk) string    { return fmt.Sprintf("scsi%d-%d", d.Bus, d.Unit) }
func nodeOf(d machine.Disk) string    { return fmt.Sprintf("disk%d-%d", d.Bus, d.Unit) }
func cardID(n int) string             { return fmt.Sprintf("ethernet%d", n) }
func netdevID(n int) string           { return fmt.Sprintf("net%d", n) }
func file(driver, name string) object { return object{{"driver", driver}, {"node-name", name}} }
func (o object) of(path string) object {
	return append(o, property{"file.driver", "file"}, property{"file.filename", path})
}

func controller(bus int) object {
	return object{{"", "pvscsi"}, {"id", controllerID(bus)}, {"bus", "pci.0"}, {"addr", fmt.Sprintf("%#x", slotSCSI+bus)}}
}

// diskNodes are the block nodes of a disk, each after those it needs.
func diskNodes(m machine.Machine, d machine.Disk) []object {
	switch {
	case d.ReadOnly:
		return []object{append(file("vmdk", nodeOf(d)), property{"read-only", true}).of(d.Path)}
	case d.Nonpersistent:
		base := fmt.Sprintf("base%d-%d", d.Bus, d.Unit)
		return []object{
			append(file("vmdk", base), property{"read-only", true}).of(d.Path),
			append(file("qcow2", nodeOf(d)), property{"backing", base}, property{"cache.no-flush", true}).of(redoPath(m, d)),
		}
	case d.Extent != "":
		// QEMU's VMDK driver can't grow a disk; a plain extent is a raw image.
		return []object{append(file("raw", nodeOf(d)), property{"cache.no-flush", true}).of(d.Extent)}
	}
	return []object{append(file("vmdk", nodeOf(d)), property{"cache.no-flush", true}).of(d.Path)}
}

func diskDevice(d machine.Disk) object {
	return object{{"", "scsi-hd"}, {"id", diskID(d)}, {"bus", controllerID(d.Bus) + ".0"}, {"scsi-id", d.Unit}, {"drive", nodeOf(d)},
		{"werror", "report"}, {"rerror", "report"}}
}

func netdev(p Paths, n int) object {
	return object{{"", "stream"}, {"id", netdevID(n)}, {"server", true}, {"addr.type", "unix"}, {"addr.path", p.NIC(n)}}
}

func nicDevice(nic machine.NIC, n, slot int) object {
	return object{{"", "vmxnet3"}, {"id", cardID(n)}, {"netdev", netdevID(n)}, {"mac", nic.MAC}, {"bus", "pci.0"},
		{"addr", fmt.Sprintf("%#x", slot)}, {"romfile", ""}}
}
