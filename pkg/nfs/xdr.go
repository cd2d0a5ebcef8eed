package nfs

import (
	"encoding/binary"
	"errors"
)

// errShort is a reply that ends before what it must hold, or holds more than may be.
var errShort = errors.New("malformed reply")

// encoder writes XDR (RFC 4506): everything in units of four bytes, big-endian.
type encoder struct{ b []byte }

func (e *encoder) u32(n uint32) *encoder {
	e.b = binary.BigEndian.AppendUint32(e.b, n)
	return e
}

func (e *encoder) u64(n uint64) *encoder {
	e.b = binary.BigEndian.AppendUint64(e.b, n)
	return e
}

func (e *encoder) opaque(b []byte) *encoder {
	e.u32(uint32(len(b)))
	e.b = append(e.b, b...)
	for len(e.b)%4 != 0 {
		e.b = append(e.b, 0)
	}
	return e
}

func (e *encoder) text(s string) *encoder { return e.opaque([]byte(s)) }

// decoder reads XDR. After the first thing that is not there, all are zero and
// err is set.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) take(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		d.err = errShort
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) bool() bool { return d.u32() != 0 }

// opaque is at most limit bytes long.
func (d *decoder) opaque(limit int) []byte {
	n := d.u32()
	if int64(n) > int64(limit) {
		d.err = errShort
		return nil
	}
	out := d.take(int(n))
	d.take(-int(n) & 3)
	return out
}
