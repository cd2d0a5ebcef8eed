package system

import (
	"encoding/hex"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestFilterRuleset(t *testing.T) {
	const self, gateway, one, two = "00:50:56:00:00:01", "00:50:56:00:00:fe", "00:50:56:00:00:02", "00:50:56:00:00:03"
	for name, f := range map[string]Filter{
		"nobody": {Link: "eth0", MAC: self, Addresses: []string{"172.16.0.2/16"}},
		"off":    {Link: "eth0", MAC: self, GatewayMAC: gateway, Peers: []Peer{{one, []string{"172.16.0.3"}}}},
		"six": {Link: "eth0", MAC: self, Addresses: []string{"172.17.0.2/16", "fd00:17::2/64"}, GatewayMAC: gateway, Peers: []Peer{
			{one, []string{"172.17.0.3", "fd00:17::3"}}, {two, []string{"172.17.0.4"}}}},
		"two-networks": {Link: "eth0", MAC: self, Addresses: []string{"172.17.0.2/16", "172.16.0.2/16"}, GatewayMAC: gateway, Peers: []Peer{
			{two, []string{"172.17.0.4", "172.16.0.4", "fd00::4"}}, {one, []string{"172.16.0.3"}}, {one, []string{"172.16.0.3"}},
			{strings.ToUpper(self), []string{"172.16.0.2"}}}},
	} {
		r, err := f.Ruleset()
		if err != nil {
			t.Fatal(err)
		}
		file := "testdata/filter-" + name + ".nft"
		if *update {
			if err := os.WriteFile(file, []byte(r.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), r.String()); d != "" {
			t.Errorf("%s (-want +got); -update rewrites it:\n%s", file, d)
		}
	}
}

func TestFilterRefuses(t *testing.T) {
	good := Filter{Link: "eth0", MAC: "00:50:56:00:00:01", Addresses: []string{"172.16.0.2/16"}}
	for want, change := range map[string]func(*Filter){
		"nonsense":          func(f *Filter) { f.MAC = "nonsense" },
		"missing":           func(f *Filter) { f.Addresses = []string{"missing"} },
		"0.0.0.0":           func(f *Filter) { f.Addresses = []string{"0.0.0.0/0"} },
		"::ffff:10.0.0.1":   func(f *Filter) { f.Addresses = []string{"::ffff:10.0.0.1/120"} },
		"::":                func(f *Filter) { f.Addresses = []string{"::/0"} },
		"fe80::1%eth0":      func(f *Filter) { f.Addresses = []string{"fe80::1%eth0/64"} },
		"ff02::1":           func(f *Filter) { f.Peers = []Peer{{"00:50:56:00:00:02", []string{"ff02::1"}}} },
		"224.0.0.1":         func(f *Filter) { f.Peers = []Peer{{"00:50:56:00:00:02", []string{"224.0.0.1"}}} },
		"01:00:5e:00:00:01": func(f *Filter) { f.GatewayMAC = "01:00:5e:00:00:01" },
		"gateway":           func(f *Filter) { f.GatewayMAC = "gateway" },
		"00:50:56:00:00":    func(f *Filter) { f.Peers = []Peer{{"00:50:56:00:00", []string{"172.16.0.3"}}} },
	} {
		f := good
		change(&f)
		if _, err := f.Ruleset(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := good.Ruleset(); err != nil {
		t.Error(err)
	}
}

// TestSetKeys: each field of a key fills registers of four bytes.
func TestSetKeys(t *testing.T) {
	s := FilterSet{Fields: []Field{etherSource(), arpHardware(), arpAddress()}}
	e, _ := hex.DecodeString("0050560000010050560000020a000001")
	if got := hex.EncodeToString(s.key(e)); got != "005056000001"+"0000"+"005056000002"+"0000"+"0a000001" {
		t.Error(got)
	}
	if got := s.element(e); got != "00:50:56:00:00:01 . 00:50:56:00:00:02 . 10.0.0.1" {
		t.Error(got)
	}
	if s.size() != 16 {
		t.Error(s.size())
	}
}

// TestFits: a set whose elements do not fit into the kernel's is made anew, and so
// are other rules.
func TestFits(t *testing.T) {
	with := func(n int) Ruleset {
		return Ruleset{Link: "eth0", Sets: []FilterSet{{Name: "peers", Elements: make([][]byte, n)}}}
	}
	for _, c := range []struct {
		made, then int
		fits       bool
	}{{0, 64, true}, {0, 65, false}, {31, 64, true}, {32, 128, true}, {32, 129, false}, {5000, 0, true}, {5000, 16384, true}} {
		if got := with(c.then).fits(with(c.made)); got != c.fits {
			t.Errorf("%d elements in a set made for %d: %v", c.then, c.made, got)
		}
	}
	sets, rules := with(1), with(1)
	sets.Sets[0].Name = "own"
	rules.Rules = []FilterRule{{Chain: chainIn}}
	if sets.fits(with(1)) || rules.fits(with(1)) || (Ruleset{Link: "eth0"}).fits(with(1)) || (Ruleset{Link: "eth1", Sets: with(1).Sets}).fits(with(1)) {
		t.Error("another ruleset fits")
	}
}

func TestAnnouncement(t *testing.T) {
	frame, err := announcement("00:50:56:00:00:01", "172.16.0.2/16")
	if want := "ffffffffffff" + "005056000001" + "0806" + "0001080006040001" + "005056000001" + "ac100002" + "000000000000" + "ac100002"; hex.EncodeToString(frame) != want || err != nil {
		t.Errorf("%x %v, want %s", frame, err, want)
	}
	for _, bad := range [][2]string{{"", "10.0.0.1"}, {"00:50:56:00:00:01", ""}, {"00:50:56:00:00:01", "fd00:::1/64"}} {
		if _, err := announcement(bad[0], bad[1]); err == nil {
			t.Errorf("%v: no error", bad)
		}
	}
}

// TestAdvertisement: what the kernel of a peer takes, and its filter lets in.
func TestAdvertisement(t *testing.T) {
	frame, err := announcement("00:50:56:00:00:01", "fd00:17::2/64")
	want := "333300000001" + "005056000001" + "86dd" + "6000000000203aff" + "fd000017000000000000000000000002" + "ff020000000000000000000000000001" +
		"8800" + "061b" + "20000000" + "fd000017000000000000000000000002" + "0201" + "005056000001"
	if hex.EncodeToString(frame) != want || err != nil {
		t.Errorf("%x %v, want %s", frame, err, want)
	}
}

func TestMergeHosts(t *testing.T) {
	const before, after = "127.0.0.1\tlocalhost\n172.16.0.2\tbox\n", "127.0.0.1\tlocalhost\n172.17.0.2\tbox\n"
	for current, want := range map[string]string{
		before:                               after,
		after:                                after,
		before + "10.0.0.1 theirs":           after + "10.0.0.1 theirs\n",
		"10.0.0.1 theirs\n172.16.0.2\tbox\n": after + "10.0.0.1 theirs\n",
		"":                                   after,
	} {
		if got := MergeHosts(current, before, after); got != want {
			t.Errorf("%q becomes %q, want %q", current, got, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add("00:50:56:00:00:01", "172.16.0.2/16", "00:50:56:00:00:02", "172.16.0.3", "00:50:56:00:00:fe")
	f.Add("00:50:56:00:00:01", "fd00::2/64", "00:50:56:00:00:02", "fd00::3", "00:50:56:00:00:fe")
	f.Add("", "", "", "", "")
	f.Fuzz(func(t *testing.T, mac, own, peer, ip, gateway string) {
		r, err := Filter{Link: "eth0", MAC: mac, Addresses: []string{own}, GatewayMAC: gateway, Peers: []Peer{{peer, []string{ip}}}}.Ruleset()
		if err != nil {
			return
		}
		for _, s := range r.Sets {
			n := 0
			for _, field := range s.Fields {
				n += int(field.Len)
			}
			for _, e := range s.Elements {
				if len(e) != n {
					t.Errorf("%s: element of %d bytes, want %d", s.Name, len(e), n)
				}
			}
		}
		_ = r.String()
	})
}
