package qemu

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// writeRedo makes an empty qcow2 overlay of capacity bytes at path. It names no
// backing file: QEMU is told the backing node in its arguments. Written here
// since a qemu-img process for each start would take longer than the rest of it.
// Format: QEMU's docs/interop/qcow2.txt, version 3, clusters of 64 KiB.
func writeRedo(path string, capacity int64) error {
	const cluster = 1 << 16
	const perL1 = cluster / 8 * cluster // bytes under one L1 entry: 512 MiB
	l1 := (capacity + perL1 - 1) / perL1
	l1Clusters := (l1*8 + cluster - 1) / cluster
	used := 3 + l1Clusters // header, refcount table, one refcount block, L1
	if capacity <= 0 || used > cluster/2 {
		return fmt.Errorf("overlay of %d bytes: %w", capacity, errdefs.ErrOutOfRange)
	}

	head := make([]byte, cluster)
	put32 := func(at int, v uint32) { binary.BigEndian.PutUint32(head[at:], v) }
	put64 := func(at int, v uint64) { binary.BigEndian.PutUint64(head[at:], v) }
	copy(head, "QFI\xfb")
	put32(4, 3)                 // version
	put32(20, 16)               // cluster bits
	put64(24, uint64(capacity)) // virtual size
	put32(36, uint32(l1))       // L1 entries
	put64(40, 3*cluster)        // L1 table
	put64(48, 1*cluster)        // refcount table
	put32(56, 1)                // its clusters
	put32(96, 4)                // refcounts of 16 bits
	put32(100, 112)             // header length; the end of extensions follows as zeros
	table := make([]byte, 2*cluster)
	binary.BigEndian.PutUint64(table, 2*cluster) // the refcount block
	for i := range used {
		binary.BigEndian.PutUint16(table[cluster+2*i:], 1)
	}

	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	_, err = f.Write(append(head, table...))
	if err == nil {
		err = f.Truncate(used * cluster)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("overlay %s: %w", path, err)
	}
	return nil
}

// vmdkCapacity is the size in bytes that the VMDK at path has for a guest: the
// sum of the extents its descriptor lists, or the capacity in the header of a
// sparse file that has the descriptor inside. Format: VMware's "Virtual Disk
// Format 5.0".
func vmdkCapacity(path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("disk: %w", err)
	}
	defer f.Close()
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(f, head)
	if err != nil && n == 0 {
		return 0, fmt.Errorf("disk %s: %w", path, err)
	}
	size, ok := parseCapacity(head[:n])
	if !ok {
		return 0, fmt.Errorf("disk %s is not a VMDK: %w", path, errdefs.ErrInvalidArgument)
	}
	return size, nil
}

const sectorSize = 512

func parseCapacity(b []byte) (bytesLong int64, ok bool) {
	const most = 64 << 40 / sectorSize // of VMFS: 62 TB
	if bytes.HasPrefix(b, []byte("KDMV")) && len(b) >= 20 {
		n := binary.LittleEndian.Uint64(b[12:])
		return int64(n) * sectorSize, n > 0 && n < most
	}
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("# Disk DescriptorFile")) {
		return 0, false
	}
	var sectors int64
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		w := strings.Fields(s.Text()) // RW 16777216 VMFS "x-flat.vmdk"
		if len(w) < 3 || w[0] != "RW" && w[0] != "RDONLY" && w[0] != "NOACCESS" {
			continue
		}
		n, err := strconv.ParseInt(w[1], 10, 64)
		if err != nil || n < 0 || n > most-sectors {
			return 0, false
		}
		sectors += n
	}
	return sectors * sectorSize, sectors > 0
}
