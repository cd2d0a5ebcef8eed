package isos

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/filesystem/iso9660"
)

func sample() ISO {
	return ISO{Volume: "VIC_TEST", Epoch: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC), Boot: "ISOLINUX.BIN", Files: []ISOFile{
		{"INITRD", bytes.Repeat([]byte("i"), 5000)},
		{"ISOLINUX.BIN", bytes.Repeat([]byte{1, 2, 3, 4}, 1000)},
		{"ISOLINUX.CFG", []byte("default vic\n")},
		{"VMLINUZ", nil},
	}}
}

func TestISOStructure(t *testing.T) {
	i := sample()
	b, err := i.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	pvd := b[lbaPVD*sector:]
	if string(pvd[1:6]) != "CD001" || strings.TrimSpace(string(pvd[40:72])) != "VIC_TEST" {
		t.Errorf("volume descriptor % x", pvd[:80])
	}
	if got := int(le.Uint32(pvd[80:])) * sector; got != len(b) {
		t.Errorf("volume of %d bytes in an image of %d", got, len(b))
	}
	if binary.BigEndian.Uint32(pvd[84:]) != le.Uint32(pvd[80:]) {
		t.Error("the two byte orders differ")
	}
	if string(pvd[813:829]) != "2020010203040500" {
		t.Errorf("date %q", pvd[813:829])
	}
	br := b[lbaBoot*sector:]
	if string(br[7:30]) != "EL TORITO SPECIFICATION" || le.Uint32(br[0x47:]) != lbaCatalog {
		t.Errorf("boot record % x", br[:80])
	}
	cat := b[lbaCatalog*sector:]
	var sum uint16
	for n := 0; n < 32; n += 2 {
		sum += le.Uint16(cat[n:])
	}
	if sum != 0 || cat[0x1e] != 0x55 || cat[0x1f] != 0xaa || cat[32] != 0x88 {
		t.Errorf("boot catalogue % x", cat[:64])
	}
	lba := le.Uint32(cat[40:])
	boot := b[int(lba)*sector:]
	if le.Uint32(boot[8:]) != lbaPVD || le.Uint32(boot[12:]) != lba || le.Uint32(boot[16:]) != 4000 {
		t.Errorf("boot information table % x", boot[8:24])
	}
	var want uint32
	for n := 64; n < 4000; n += 4 {
		want += le.Uint32(i.Files[1].Data[n:])
	}
	if le.Uint32(boot[20:]) != want {
		t.Error("checksum of the boot file")
	}
}

// TestISOReadsElsewhere has go-diskfs, another implementation, read an image.
func TestISOReadsElsewhere(t *testing.T) {
	i := sample()
	b, err := i.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	name := t.TempDir() + "/x.iso"
	if err := writeFile(name, b); err != nil {
		t.Fatal(err)
	}
	bk, err := file.OpenFromPath(name, true)
	if err != nil {
		t.Fatal(err)
	}
	defer bk.Close()
	fsys, err := iso9660.Read(bk, int64(len(b)), 0, sector)
	if err != nil {
		t.Fatal(err)
	}
	list, err := fsys.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range list {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %d", strings.TrimSuffix(f.Name(), "."), info.Size()))
	}
	if s := strings.Join(got, ", "); s != "INITRD 5000, ISOLINUX.BIN 4000, ISOLINUX.CFG 12, VMLINUZ 0" {
		t.Error(s)
	}
}

func TestISORefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*ISO)
		want   string
	}{
		{func(i *ISO) { i.Volume = "lower" }, "volume id"},
		{func(i *ISO) { i.Volume = strings.Repeat("X", 33) }, "volume id"},
		{func(i *ISO) { i.Files[0].Name = "initrd" }, "8.3"},
		{func(i *ISO) { i.Files[0].Name = "INITRAMFSX" }, "8.3"},
		{func(i *ISO) { i.Boot = "NONE" }, "NONE"},
		{func(i *ISO) { i.Files[1].Data = []byte("short") }, "too short"},
		{func(i *ISO) { i.Files[0], i.Files[3] = i.Files[3], i.Files[0] }, "in order"},
	} {
		i := sample()
		c.change(&i)
		if _, err := i.Bytes(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
