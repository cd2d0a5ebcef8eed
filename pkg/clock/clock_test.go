package clock

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// recorded remembers how it was corrected.
type recorded struct{ last string }

func (c *recorded) Step(by time.Duration) error { c.last = fmt.Sprint("step ", by); return nil }
func (c *recorded) Slew(by time.Duration) error {
	c.last = fmt.Sprint("slew ", by)
	return errors.New("not today")
}

func TestCorrect(t *testing.T) {
	for _, c := range []struct {
		offset, within, jump time.Duration
		want                 string
	}{
		{0, 0, 0, ""},
		{10 * time.Millisecond, 0, 0, ""},
		{-10 * time.Millisecond, 0, Jump, ""},
		{11 * time.Millisecond, 0, 0, "step 11ms"},
		{-11 * time.Millisecond, 0, Jump, "slew -11ms"},
		{60 * time.Millisecond, 70 * time.Millisecond, 0, ""}, // it may be none
		{Jump, time.Millisecond, Jump, "slew 128ms"},
		{-Jump - 1, time.Millisecond, Jump, "step -128.000001ms"},
		{time.Hour, time.Second, Jump, "step 1h0m0s"},
	} {
		var r recorded
		how, err := Correct(&r, c.offset, c.within, c.jump)
		kind, _, _ := strings.Cut(c.want, " ")
		if r.last != c.want || how != kind || (how == "slew") != (err != nil) {
			t.Errorf("%+v: %q, said to be %q, %v", c, r.last, how, err)
		}
	}
}

// TestCompare: the quickest answer counts, and what goes on while it is on its way
// cannot be told from it.
func TestCompare(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ways := []time.Duration{300, 4, 90} // ms there; as long back
	asked := 0
	ahead, within, err := Compare(len(ways), func() time.Time { return now }, func() (time.Time, error) {
		way := ways[asked] * time.Millisecond
		asked++
		now = now.Add(way)
		theirs := now.Add(-440 * time.Millisecond)
		now = now.Add(way / 2) // the way back is quicker
		return theirs, nil
	})
	if err != nil || within != 3*time.Millisecond || (ahead+440*time.Millisecond).Abs() > within {
		t.Errorf("ahead by %s within %s, %v", ahead, within, err)
	}
	gone := errors.New("gone")
	if _, _, err := Compare(3, time.Now, func() (time.Time, error) { return time.Time{}, gone }); !errors.Is(err, gone) {
		t.Errorf("a computer that is gone: %v", err)
	}
}
