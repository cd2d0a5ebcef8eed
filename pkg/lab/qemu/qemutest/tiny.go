package qemutest

import (
	_ "embed"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// echoBIN is testdata/echo.s assembled.
//
//go:embed testdata/echo.bin
var echoBIN []byte

// TinyISO writes a bootable CD-ROM of 42 KiB whose program says "hello from the
// tiny iso" on the first serial port, echoes there what it gets, also to the
// second port, powers off at 'q' and resets at 'r'. It needs no kernel, and is up
// in a fraction of a second.
func TinyISO(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.iso")
	if err := os.WriteFile(path, tinyISO(echoBIN), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// tinyISO is an ISO 9660 file system without files and an El Torito boot record
// (no emulation), as the specification version 1.0 has it.
func tinyISO(boot []byte) []byte {
	const sector = 2048
	iso := make([]byte, 21*sector)
	at := func(n int) []byte { return iso[n*sector : (n+1)*sector] }

	pvd := at(16)
	copy(pvd, "\x01CD001\x01")
	copy(pvd[8:72], spaces(64))
	copy(pvd[40:], "TINY")
	binary.LittleEndian.PutUint32(pvd[80:], 21)
	binary.BigEndian.PutUint32(pvd[84:], 21)
	binary.LittleEndian.PutUint16(pvd[128:], sector)
	binary.BigEndian.PutUint16(pvd[130:], sector)

	record := at(17)
	copy(record, "\x00CD001\x01EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(record[71:], 19)

	copy(at(18), "\xffCD001\x01")

	catalog := at(19)
	catalog[0], catalog[30], catalog[31] = 1, 0x55, 0xaa
	binary.LittleEndian.PutUint16(catalog[28:], -sum16(catalog[:32]))
	entry := catalog[32:]
	entry[0] = 0x88                                                       // bootable, no emulation
	binary.LittleEndian.PutUint16(entry[6:], uint16((len(boot)+511)/512)) // virtual sectors
	binary.LittleEndian.PutUint32(entry[8:], 20)                          // where
	copy(at(20), boot)
	return iso
}

func sum16(b []byte) (s uint16) {
	for i := 0; i < len(b); i += 2 {
		s += binary.LittleEndian.Uint16(b[i:])
	}
	return s
}

func spaces(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = ' '
	}
	return b
}
