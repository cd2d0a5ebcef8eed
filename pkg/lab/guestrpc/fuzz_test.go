package guestrpc

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 'h', 'i'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		msg, err := ReadFrame(r)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrTooLong) {
				t.Fatal(err)
			}
			return
		}
		var w bytes.Buffer
		if err := WriteFrame(&w, msg); err != nil {
			t.Fatal(err)
		}
		if used := len(b) - r.Len(); !bytes.Equal(w.Bytes(), b[:used]) {
			t.Fatalf("%x read and written again is %x", b[:used], w.Bytes())
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"info-get guestinfo.a", "info-set guestinfo..a b", "SetGuestInfo  9 \x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00\x01",
		"tools.os.statechange.status 1 1", "log x", "tools.capability.x y", "SetGuestInfo  2 1.2.3.4"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h := New(Config{Guest: newGuest(), Log: quiet()})
		got := h.Answer(b)
		if !bytes.HasPrefix(got, []byte("1 ")) && !bytes.HasPrefix(got, []byte("0 ")) {
			t.Fatalf("%q: reply %q", b, got)
		}
	})
}
