package api

import (
	"fmt"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/types/system"
)

// driverStatus is what info shows below the storage driver: the room that the VCH
// has, and what it uses of its pool.
func driverStatus(c spec.Capacity, s spec.Site, socket bool) [][2]string {
	out := [][2]string{}
	add := func(k, v string) {
		if v != "" {
			out = append(out, [2]string{k, v})
		}
	}
	add("Datastore", c.Datastore)
	if c.StorageCapacity > 0 {
		add("Datastore capacity", bytes(c.StorageCapacity))
		add("Datastore free", bytes(c.StorageFree))
	}
	for _, st := range s.VolumeStores {
		text := st.Place
		switch {
		case st.Problem != "":
			text += ": " + st.Problem
		case st.Capacity > 0:
			text += fmt.Sprintf(", %s of %s free", bytes(st.Free), bytes(st.Capacity))
		}
		add("Volume store "+st.Label, text)
	}
	add("Resource pool", c.Pool)
	if c.CPUMHz > 0 {
		add("CPU of the pool", mhz(c.CPUMHz))
	}
	if socket {
		add("Docker socket for containers", "allowed")
	}
	if s.DefaultCPUs == 0 {
		return out // the site is not known
	}
	limit := func(n int64, show func(int64) string) string {
		if n == 0 {
			return ", no limit"
		}
		return ", limit " + show(n)
	}
	add("CPU used in the pool", mhz(s.CPUUsedMHz)+limit(s.CPULimitMHz, mhz))
	add("Memory used in the pool", bytes(s.MemoryUsed)+limit(s.MemoryLimit, bytes))
	add("Container default", fmt.Sprintf("%d CPU, %s memory, %s disk", s.DefaultCPUs, bytes(s.DefaultMemoryMB<<20), bytes(s.DefaultRootMB<<20)))
	return out
}

// addressPools is what bridge networks are made of.
func addressPools(s spec.Site) []system.NetworkAddressPool {
	if s.BridgeRange == "" {
		return nil
	}
	return []system.NetworkAddressPool{{Base: s.BridgeRange, Size: s.BridgeWidth}}
}

// rootSizes gives the sizes that a list shows, by id: a container's own disk and, with
// its image, all that it sees. That of the disk is what it takes of the datastore.
func (s *server) rootSizes(sizes map[string]int64, i engine.Info) (rw, root int64) {
	rw = sizes[i.Container.ID]
	if img, err := s.e.ImageInspect(i.Container.ImageID); err == nil {
		root = img.Size
	}
	return rw, root + max(rw, 0)
}
