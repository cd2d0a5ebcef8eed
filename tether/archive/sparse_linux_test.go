package archive

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

// gnuSparse is the tar that `tar --sparse` makes, in its own format, of a file of
// size bytes that has data at its end alone.
func gnuSparse(name string, size int, data string) []byte {
	var h [512]byte
	put := func(at int, format string, a ...any) { copy(h[at:], fmt.Sprintf(format, a...)) }
	put(0, "%s", name)
	put(100, "%07o", 0o644)
	put(108, "%07o", os.Getuid())
	put(116, "%07o", os.Getgid())
	put(124, "%011o", len(data))
	put(136, "%011o", 1000)
	put(148, "        ")
	h[156] = 'S'
	put(257, "ustar  \x00")
	put(386, "%011o", size-len(data))
	put(398, "%011o", len(data))
	put(483, "%011o", size)
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	put(148, "%06o\x00 ", sum)
	out := append(h[:], data...)
	out = append(out, make([]byte, (512-len(data)%512)%512)...)
	return append(out, make([]byte, 1024)...)
}

// TestPutSparse: a file with holes has them again.
func TestPutSparse(t *testing.T) {
	root := tree(t, "etc/")
	in := gnuSparse("disk", 8<<20, "end")
	if err := (files{root}).put(Job{FileRequest: spec.FileRequest{Path: "/etc"}}, bytes.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "etc/disk"))
	if err != nil || len(b) != 8<<20 || string(b[len(b)-3:]) != "end" || len(bytes.Trim(b[:len(b)-3], "\x00")) != 0 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(root, "etc/disk"), &st); err != nil || st.Blocks*512 > 1<<20 {
		t.Errorf("%d blocks, %v", st.Blocks, err)
	}
}
