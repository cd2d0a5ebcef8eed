package iprange

import (
	"net/netip"
	"testing"

	"github.com/containerd/errdefs"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"10.2.1.0/24":           "10.2.1.0-10.2.1.255",
		"10.2.1.7/24":           "10.2.1.0-10.2.1.255",
		"10.2.1.10-10.2.1.99":   "10.2.1.10-10.2.1.99",
		"10.2.1.10-10.2.1.10":   "10.2.1.10",
		"10.2.1.10":             "10.2.1.10",
		"10.2.1.10/32":          "10.2.1.10",
		"0.0.0.0/0":             "0.0.0.0-255.255.255.255",
		"172.16.0.0/12":         "172.16.0.0-172.31.255.255",
		"192.168.1.128/25":      "192.168.1.128-192.168.1.255",
		"255.255.255.254/31":    "255.255.255.254-255.255.255.255",
		"10.0.0.250-10.0.1.250": "10.0.0.250-10.0.1.250",
	} {
		r, err := Parse(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, r, err, want)
		}
		if again, err := Parse(want); err != nil || again != r {
			t.Errorf("%s: %v, %v", want, again, err)
		}
	}
	for _, text := range []string{"", "-", "10.2.1.0/33", "10.2.1.9-10.2.1.8", "10.2.1.9-", "fd00::/64", "fd00::1-fd00::2", "10.2.1.1-fd00::2", "::ffff:10.0.0.1", "a", "10.2.1.0/24-10.2.2.0/24"} {
		if r, err := Parse(text); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
}

func TestQuestions(t *testing.T) {
	r, a := must(t, "10.2.1.10-10.2.1.99"), netip.MustParseAddr
	for addr, want := range map[string]bool{"10.2.1.9": false, "10.2.1.10": true, "10.2.1.50": true, "10.2.1.99": true, "10.2.1.100": false, "fd00::1": false} {
		if r.Contains(a(addr)) != want {
			t.Errorf("contains %s: %v", addr, !want)
		}
	}
	if (Range{}).Contains(a("10.2.1.10")) {
		t.Error("the zero range has an address")
	}
	for other, want := range map[string]bool{"10.2.1.0/24": true, "10.2.1.99-10.2.1.120": true, "10.2.1.100-10.2.1.120": false, "10.2.1.20": true, "10.2.0.0/24": false} {
		o := must(t, other)
		if r.Overlaps(o) != want || o.Overlaps(r) != want {
			t.Errorf("overlaps %s: %v", other, !want)
		}
	}
	if !r.Within(netip.MustParsePrefix("10.2.1.0/24")) || r.Within(netip.MustParsePrefix("10.2.1.0/26")) {
		t.Error("within")
	}
}

func must(t *testing.T, text string) Range {
	t.Helper()
	r, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"10.2.1.0/24", "10.2.1.10-10.2.1.99", "10.2.1.1", "-", "fd00::/8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(r.String()); err != nil || again != r || r.To.Less(r.From) {
			t.Errorf("%q: %v, again %v, %v", text, r, again, err)
		}
	})
}
