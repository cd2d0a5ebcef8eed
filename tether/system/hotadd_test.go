package system

import (
	"slices"
	"testing"
)

func TestParseSet(t *testing.T) {
	for text, want := range map[string][]int{
		"0\n": {0}, "0-3\n": {0, 1, 2, 3}, "0,2-3,7": {0, 2, 3, 7}, "": nil, "\n": nil,
	} {
		if got, err := parseSet(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"a", "1-", "-1", "3-1", "0,,1", "0-99999999", "1 2"} {
		if got, err := parseSet(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// FuzzParseSet: what is no set is an error, and no set is larger than a kernel's.
func FuzzParseSet(f *testing.F) {
	for _, s := range []string{"0", "0-3,5", "0-8191", "-", ","} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		set, err := parseSet(s)
		for _, n := range set {
			if err != nil || n < 0 || n > maxCPU {
				t.Errorf("%q: %d, %v", s, n, err)
			}
		}
	})
}
