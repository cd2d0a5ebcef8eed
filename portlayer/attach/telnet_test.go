package attach

import (
	"bytes"
	"testing"
)

func TestTelnet(t *testing.T) {
	for name, tc := range map[string]struct{ in, data, answer []byte }{
		"data":             {[]byte("plain"), []byte("plain"), nil},
		"escaped IAC":      {[]byte{'a', iac, iac, 'b'}, []byte{'a', iac, 'b'}, nil},
		"will binary":      {[]byte{iac, will, optBinary, 'x'}, []byte("x"), []byte{iac, do, optBinary}},
		"do binary":        {[]byte{iac, do, optBinary}, nil, []byte{iac, will, optBinary}},
		"do echo":          {[]byte{iac, do, optEcho}, nil, []byte{iac, wont, optEcho}},
		"will unknown":     {[]byte{iac, will, 99}, nil, []byte{iac, dont, 99}},
		"wont":             {[]byte{iac, wont, 99, 'x'}, []byte("x"), nil},
		"do proxy":         {append([]byte{iac, sb, optVMware, subDoProxy}, "Cvic\xff\xf0"...), nil, []byte{iac, sb, optVMware, subWillProxy, iac, se}},
		"uuid":             {[]byte{iac, sb, optVMware, subVCUUID, 1, 2, iac, se, 'x'}, []byte("x"), nil},
		"unknown":          {[]byte{iac, sb, optVMware, 200, iac, se}, nil, []byte{iac, sb, optVMware, subUnknown1, 200, iac, se}},
		"peer":             {[]byte{iac, sb, optVMware, subPeer, 1, 2, 3, iac, iac, 5, 6, iac, se}, nil, []byte{iac, sb, optVMware, subPeerOK, 1, 2, 3, iac, iac, iac, se}},
		"another's option": {[]byte{iac, sb, 44, 1, iac, se}, nil, nil},
		"empty":            {[]byte{iac, sb, iac, se, 'x'}, []byte("x"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			var whole telnetReader
			data, answer := whole.feed(tc.in)
			if !bytes.Equal(data, tc.data) || !bytes.Equal(answer, tc.answer) {
				t.Errorf("whole: data %q answer % x, want %q % x", data, answer, tc.data, tc.answer)
			}
			var bytewise telnetReader
			data, answer = nil, nil
			for i := range tc.in { // cut anywhere, the result is the same
				d, a := bytewise.feed(tc.in[i : i+1])
				data, answer = append(data, d...), append(answer, a...)
			}
			if !bytes.Equal(data, tc.data) || !bytes.Equal(answer, tc.answer) {
				t.Errorf("bytewise: data %q answer % x, want %q % x", data, answer, tc.data, tc.answer)
			}
		})
	}
}

func TestVMotionGetsASecret(t *testing.T) {
	var r telnetReader
	_, a := r.feed([]byte{iac, sb, optVMware, subVMotionBegin, 9, 8, 7, 6, iac, se})
	a = bytes.ReplaceAll(a, []byte{iac, iac}, []byte{iac})
	if len(a) != 4+4+8+2 || a[3] != subGoAhead || !bytes.Equal(a[4:8], []byte{9, 8, 7, 6}) {
		t.Errorf("answer to VMOTION-BEGIN: % x", a)
	}
}

func FuzzTelnet(f *testing.F) {
	f.Add([]byte{iac, sb, optVMware, subDoProxy, 'C', iac, se, 'a', iac, iac})
	f.Add([]byte{iac, sb, iac, iac, iac})
	f.Fuzz(func(t *testing.T, in []byte) {
		var whole, parts telnetReader
		d1, _ := whole.feed(in)
		half := len(in) / 2
		d2, _ := parts.feed(in[:half])
		d3, _ := parts.feed(in[half:])
		if !bytes.Equal(d1, append(d2, d3...)) {
			t.Fatalf("data depends on where it is cut: %q, %q %q", d1, d2, d3)
		}
		if len(whole.sub) > maxSub {
			t.Fatalf("kept %d bytes of a suboption", len(whole.sub))
		}
		var back telnetReader
		if d, a := back.feed(escape(in)); !bytes.Equal(d, in) || a != nil {
			t.Fatalf("escape does not round trip: %q → %q, answer % x", in, d, a)
		}
	})
}
