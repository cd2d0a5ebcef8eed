package logframe

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// A frame in the file, all numbers big endian:
//
//	0  magic   4 bytes  0x1e 'v' 'l' '1'
//	4  kind    1
//	5  stream  1        spec.Stdout or spec.Stderr; 0 in marks
//	6  length  2        of the data, at most MaxData
//	8  run     8
//	16 seq     8
//	24 time    8        nanoseconds since 1970, UTC
//	32 crc     4        CRC-32C of bytes 0-31 and the data
//	36 data
const (
	magic      = "\x1evl1"
	headerSize = 36
	// MaxData is the most data of one frame in bytes; Writer splits what is longer.
	MaxData = 32 << 10
)

// Kind is what a frame tells.
type Kind byte

// The kinds of frame.
const (
	KindData  Kind = 1 // a piece of output
	KindStart Kind = 2 // a run begins; seq 0
	KindEnd   Kind = 3 // the run has ended and all its output came before
)

// Frame is one piece of output.
type Frame struct {
	Position
	Kind   Kind
	Stream spec.Stream
	Time   time.Time // UTC
	Data   []byte
}

// Position is a frame's place in a container's output. Run is greater for a
// later run as long as the guest's clock does not step back between the two;
// within a run Seq counts from 0 without a gap.
type Position struct{ Run, Seq uint64 }

// Entry gives a data frame as the port layer shows it.
func (f *Frame) Entry() spec.LogEntry {
	return spec.LogEntry{Stream: f.Stream, Time: f.Time, Data: f.Data}
}

// Append adds the encoded frame to b. Data longer than MaxData is refused.
func (f *Frame) Append(b []byte) ([]byte, error) {
	if len(f.Data) > MaxData {
		return b, fmt.Errorf("log frame of %d bytes exceeds %d: %w", len(f.Data), MaxData, errdefs.ErrInvalidArgument)
	}
	start := len(b)
	b = append(b, magic...)
	b = append(b, byte(f.Kind), byte(f.Stream))
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.Data)))
	b = binary.BigEndian.AppendUint64(b, f.Run)
	b = binary.BigEndian.AppendUint64(b, f.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(f.Time.UnixNano()))
	sum := crc32.Update(crc32.Checksum(b[start:], table()), table(), f.Data)
	b = binary.BigEndian.AppendUint32(b, sum)
	return append(b, f.Data...), nil
}

// header reads the header at the start of b (at least headerSize bytes). ok is
// false when there is none; the checksum is not looked at.
func header(b []byte) (f Frame, length int, sum uint32, ok bool) {
	if string(b[:4]) != magic {
		return f, 0, 0, false
	}
	f.Kind, f.Stream = Kind(b[4]), spec.Stream(b[5])
	length = int(binary.BigEndian.Uint16(b[6:]))
	f.Run, f.Seq = binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])
	f.Time = time.Unix(0, int64(binary.BigEndian.Uint64(b[24:]))).UTC()
	known := f.Kind >= KindData && f.Kind <= KindEnd && f.Stream <= spec.Stderr
	return f, length, binary.BigEndian.Uint32(b[32:]), known && length <= MaxData
}

// sound checks the checksum of a whole frame.
func sound(b []byte, sum uint32) bool {
	return crc32.Update(crc32.Checksum(b[:32], table()), table(), b[headerSize:]) == sum
}

var table = sync.OnceValue(func() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) })
