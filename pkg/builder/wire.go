package builder

import (
	"errors"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/encoding/protowire"
)

// eachField calls f for every field of a message of protocol buffers, with its value
// as it is on the wire, until f says no. What is no message is ErrInvalidArgument.
func eachField(b []byte, f func(num protowire.Number, typ protowire.Type, value []byte) bool) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errors.Join(protowire.ParseError(n), errdefs.ErrInvalidArgument)
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return errors.Join(protowire.ParseError(n), errdefs.ErrInvalidArgument)
		}
		if !f(num, typ, b[:n]) {
			return nil
		}
		b = b[n:]
	}
	return nil
}

// bytesFields are all values of a field of strings, bytes or messages.
func bytesFields(b []byte, field protowire.Number) (out [][]byte, err error) {
	err = eachField(b, func(num protowire.Number, typ protowire.Type, value []byte) bool {
		if num == field && typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(value) // eachField has found it whole
			out = append(out, v)
		}
		return true
	})
	return out, err
}

// stringField reads one field of a message; empty without it.
func stringField(b []byte, field protowire.Number) (out string, err error) {
	all, err := bytesFields(b, field)
	if err != nil || len(all) == 0 {
		return "", err
	}
	return string(all[0]), nil
}

// intField reads one field of a message; 0 without it.
func intField(b []byte, field protowire.Number) (out int64, err error) {
	err = eachField(b, func(num protowire.Number, typ protowire.Type, value []byte) bool {
		if num == field && typ == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(value)
			out = int64(v)
		}
		return true
	})
	return out, err
}

// mapField reads a field that is a map of strings, or of bytes.
func mapField(b []byte, field protowire.Number) (map[string]string, error) {
	entries, err := bytesFields(b, field)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, e := range entries {
		k, err := stringField(e, 1)
		if err != nil {
			return nil, err
		}
		if out[k], err = stringField(e, 2); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// appendMap adds entries to such a field: a message may have its fields in any order.
func appendMap(b []byte, field protowire.Number, m map[string]string) []byte {
	for _, k := range sortedKeys(m) {
		e := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), k)
		e = protowire.AppendString(protowire.AppendTag(e, 2, protowire.BytesType), m[k])
		b = protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), e)
	}
	return b
}
