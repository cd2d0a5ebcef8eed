package network

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// An announcement of 172.16.0.9 as Linux sends it.
const announced = "ffffffffffff" + "005056000a01" + "0806" + "0001" + "0800" + "06" + "04" + "0001" + "005056000a01" + "ac100009" + "000000000000" + "ac100009"

func frameOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseARP(t *testing.T) {
	frame := frameOf(t, announced)
	if c, ok := ParseARP(frame); !ok || c.String() != "172.16.0.9 at 00:50:56:00:0a:01" {
		t.Errorf("%v, %v", c, ok)
	}
	if c, ok := ParseARP(append(bytes.Clone(frame), make([]byte, 18)...)); !ok || c.Addr.String() != "172.16.0.9" {
		t.Errorf("padded to Ethernet's least length: %v, %v", c, ok)
	}
	change := func(at int, b ...byte) []byte {
		out := bytes.Clone(frame)
		copy(out[at:], b)
		return out
	}
	for what, bad := range map[string][]byte{
		"nothing": nil, "cut": frame[:41], "IPv4": change(12, 8, 0), "other hardware": change(14, 0, 6),
		"longer addresses": change(18, 8), "a probe": change(28, 0, 0, 0, 0),
	} {
		if c, ok := ParseARP(bad); ok {
			t.Errorf("%s claims %v", what, c)
		}
	}
}

func FuzzParseARP(f *testing.F) {
	f.Add(frameOf(f, announced))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := ParseARP(b); ok && (!c.Addr.Is4() || len(c.MAC) != 17) {
			t.Errorf("%x: %+v", b, c)
		}
	})
}

func TestUsurped(t *testing.T) {
	l := NewLeases(bridge(t, Config{}))
	e, err := l.Allocate("a", []spec.Endpoint{{Network: "bridge"}})
	if err != nil {
		t.Fatal(err)
	}
	own := netip.MustParsePrefix(e[0].IP).Addr()
	const gateway, stranger = "00:50:56:00:00:01", "00:0c:29:00:00:09"
	for what, tc := range map[string]struct {
		c     Claim
		owner string
		wrong bool
	}{
		"itself":            {Claim{e[0].MAC, own}, "a", false},
		"a stranger":        {Claim{stranger, own}, "a", true},
		"the gateway":       {Claim{gateway, netip.MustParseAddr("172.16.0.1")}, "", false},
		"a false gateway":   {Claim{stranger, netip.MustParseAddr("172.16.0.1")}, "", true},
		"a container as it": {Claim{e[0].MAC, netip.MustParseAddr("172.16.0.1")}, "", true},
		"a free address":    {Claim{stranger, netip.MustParseAddr("172.16.9.9")}, "", false},
		"elsewhere":         {Claim{stranger, netip.MustParseAddr("203.0.113.1")}, "", false},
	} {
		if owner, wrong := l.State().Usurped(tc.c, "00:50:56:00:00:01"); wrong != tc.wrong || wrong && owner != tc.owner {
			t.Errorf("%s: %q, %v", what, owner, wrong)
		}
	}
}

func TestDuplicates(t *testing.T) {
	var d Duplicates
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	a := Claim{"00:0c:29:00:00:09", netip.MustParseAddr("172.16.0.9")}
	b := Claim{"00:0c:29:00:00:09", netip.MustParseAddr("172.16.0.2")}
	if !d.Hear(a, now) || d.Hear(a, now.Add(9*time.Minute)) || !d.Hear(b, now.Add(9*time.Minute)) {
		t.Error("what is new?")
	}
	if got := d.List(now.Add(11 * time.Minute)); len(got) != 2 || got[0] != b {
		t.Errorf("%v", got)
	}
	if got := d.List(now.Add(20 * time.Minute)); len(got) != 0 {
		t.Errorf("much later: %v", got)
	}
	for i := range 2 * maxDuplicates {
		d.Hear(Claim{"00:0c:29:00:00:09", netip.AddrFrom4([4]byte{10, 0, 1, byte(i)})}, now)
	}
	if got := d.List(now); len(got) != maxDuplicates {
		t.Errorf("%d are remembered", len(got))
	}
}
