package tetherproto

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"sync"
)

// A frame on the line, all numbers big endian:
//
//	0  magic   2 bytes
//	2  type    1
//	3  zero    1   reserved
//	4  tag     4   of the two epochs; 0 in probe and hello
//	8  seq     4   position of the first payload byte in the sender's stream
//	12 ack     4   position that the sender wants next
//	16 window  4   bytes that the sender can take from ack on
//	20 length  2   of the payload, at most maxPayload
//	22 crc     4   CRC-32C of bytes 0-21
//	26 payload, and its CRC-32C (4 bytes) when there is any
//
// The header has a checksum of its own, so that a damaged length never makes the
// reader wait for bytes that do not come. Positions wrap around; see after.
const (
	magic0, magic1 = 0xa7, 0x5e
	headerSize     = 26
	maxPayload     = 1024 // 2 ms of a line of 0.5 MB/s, 30 ms of a slow one
	maxFrame       = headerSize + maxPayload + 4
)

type frameType byte

const (
	frameProbe frameType = 1 + iota // "who are you?"; answered with a hello
	frameHello                      // payload: Hello
	frameData                       // payload: bytes of the stream
	frameAck                        // ack and window only
	frameNak                        // something was lost after ack: send again
	framePing                       // answered with an ack
	frameClose                      // the sender's stream ends at seq
)

type frame struct {
	typ     frameType
	tag     uint32
	seq     uint32
	ack     uint32
	window  uint32
	payload []byte
}

func castagnoli(b []byte) uint32 { return crc32.Checksum(b, crcTable()) }

// crcTable is made once; crc32 itself keeps it after the first use.
var crcTable = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })

func (f *frame) append(b []byte) []byte {
	start := len(b)
	b = append(b, magic0, magic1, byte(f.typ), 0)
	b = binary.BigEndian.AppendUint32(b, f.tag)
	b = binary.BigEndian.AppendUint32(b, f.seq)
	b = binary.BigEndian.AppendUint32(b, f.ack)
	b = binary.BigEndian.AppendUint32(b, f.window)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.payload)))
	b = binary.BigEndian.AppendUint32(b, castagnoli(b[start:]))
	if len(f.payload) == 0 {
		return b
	}
	b = append(b, f.payload...)
	return binary.BigEndian.AppendUint32(b, castagnoli(f.payload))
}

// parseHeader reads a header of headerSize bytes. ok is false when it is none.
func parseHeader(b []byte) (f frame, length int, ok bool) {
	if b[0] != magic0 || b[1] != magic1 || binary.BigEndian.Uint32(b[22:]) != castagnoli(b[:22]) {
		return f, 0, false
	}
	length = int(binary.BigEndian.Uint16(b[20:]))
	f = frame{
		typ:    frameType(b[2]),
		tag:    binary.BigEndian.Uint32(b[4:]),
		seq:    binary.BigEndian.Uint32(b[8:]),
		ack:    binary.BigEndian.Uint32(b[12:]),
		window: binary.BigEndian.Uint32(b[16:]),
	}
	return f, length, length <= maxPayload
}

// frameReader finds frames in a stream that may hold anything else.
type frameReader struct {
	br *bufio.Reader
	// skipped counts bytes that belong to no frame.
	skipped uint64
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{br: bufio.NewReaderSize(r, 2*maxFrame)}
}

// next gives the next sound frame. damaged tells that bytes were passed over
// before it, of which some looked like a frame.
func (r *frameReader) next() (f frame, damaged bool, err error) {
	for {
		head, err := r.br.Peek(headerSize)
		if err != nil {
			return f, damaged, err
		}
		f, length, ok := parseHeader(head)
		if !ok {
			damaged = damaged || head[0] == magic0 && head[1] == magic1
			r.skip(head)
			continue
		}
		if length == 0 {
			_, err = r.br.Discard(headerSize)
			return f, damaged, err
		}
		whole, torn, err := r.whole(headerSize + length + 4)
		if err != nil {
			return f, damaged, err
		}
		if torn > 0 {
			damaged = true
			r.skipped += uint64(torn)
			_, _ = r.br.Discard(torn) // peeked before
			continue
		}
		payload := whole[headerSize : headerSize+length]
		if binary.BigEndian.Uint32(whole[headerSize+length:]) != castagnoli(payload) {
			damaged = true
			r.skip(whole)
			continue
		}
		f.payload = bytes.Clone(payload)
		_, err = r.br.Discard(len(whole))
		return f, damaged, err
	}
}

// whole waits for a frame of n bytes. A stream that was cut in the middle of it
// goes on with a frame of the next stream, perhaps a short one that nothing
// follows: that is found in what would be the payload, and torn is its offset.
// (A payload never looks like a header: it is encrypted, or SSH's own text.)
func (r *frameReader) whole(n int) (b []byte, torn int, err error) {
	for looked := 1; ; {
		have := min(r.br.Buffered(), n)
		b, err = r.br.Peek(have)
		if have == n || err != nil {
			return b, 0, err
		}
		for looked+headerSize <= have {
			i := bytes.IndexByte(b[looked:have-headerSize+1], magic0)
			if i < 0 {
				looked = have - headerSize + 1
				break
			}
			if _, _, ok := parseHeader(b[looked+i:]); ok {
				return nil, looked + i, nil
			}
			looked += i + 1
		}
		if _, err = r.br.Peek(have + 1); err != nil { // waits for more
			return nil, 0, err
		}
	}
}

// skip passes over the first byte of b and on to the next possible magic.
func (r *frameReader) skip(b []byte) {
	n := len(b)
	if i := bytes.IndexByte(b[1:], magic0); i >= 0 {
		n = i + 1
	}
	r.skipped += uint64(n)
	_, _ = r.br.Discard(n) // these bytes were peeked, so they are there
}

// after tells whether position a lies after b, across the wrap of 32 bits; the
// two are never more than a window apart.
func after(a, b uint32) bool { return int32(a-b) > 0 }
