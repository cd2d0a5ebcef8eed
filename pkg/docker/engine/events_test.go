package engine

import (
	"fmt"
	"testing"
	"time"
)

func ev(typ, action, id string, attrs ...string) Event {
	e := Event{Type: typ, Action: action, ID: id, Attributes: map[string]string{}}
	for i := 0; i+1 < len(attrs); i += 2 {
		e.Attributes[attrs[i]] = attrs[i+1]
	}
	return e
}

func TestEventFilters(t *testing.T) {
	die := ev("container", "die", "abcdef", "name", "web", "image", "nginx:1", "tier", "front")
	exec := ev("container", "exec_create: sh -c x", "abcdef", "name", "web", "image", "nginx:1")
	pull := ev("image", "pull", "nginx:1", "name", "nginx")
	for _, c := range []struct {
		f    Filters
		e    Event
		want bool
	}{
		{nil, die, true},
		{Filters{"event": {"die"}}, die, true},
		{Filters{"event": {"start"}}, die, false},
		{Filters{"event": {"start", "die"}}, die, true},
		{Filters{"event": {"exec_create"}}, exec, true},
		{Filters{"event": {"exec"}}, exec, false},
		{Filters{"type": {"container"}}, die, true},
		{Filters{"type": {"image"}}, die, false},
		{Filters{"container": {"web"}}, die, true},
		{Filters{"container": {"abc"}}, die, true},
		{Filters{"container": {"other"}}, die, false},
		{Filters{"container": {"web"}}, pull, false},
		{Filters{"image": {"nginx"}}, die, true},
		{Filters{"image": {"nginx:1"}}, die, true},
		{Filters{"image": {"nginx"}}, pull, true},
		{Filters{"image": {"redis"}}, pull, false},
		{Filters{"label": {"tier"}}, die, true},
		{Filters{"label": {"tier=front"}}, die, true},
		{Filters{"label": {"tier=back"}}, die, false},
		{Filters{"scope": {"local"}}, die, true},
		{Filters{"scope": {"swarm"}}, die, false},
		{Filters{"volume": {"x"}}, die, false},
	} {
		if got := c.f.event(c.e); got != c.want {
			t.Errorf("%v selects %s %s: %v, want %v", c.f, c.e.Type, c.e.Action, got, c.want)
		}
	}
}

// TestEventLogBounds: the history is bounded, and a reader that does not read
// is cut off and not given a gap.
func TestEventLogBounds(t *testing.T) {
	l := newEventLog(3, 2)
	_, slow := l.subscribe()
	for i := range 5 {
		l.add(Event{Action: fmt.Sprint(i)})
	}
	past, _ := l.subscribe()
	if len(past) != 3 || past[0].Action != "2" || past[2].Action != "4" {
		t.Errorf("history %v", past)
	}
	var got []string
	for e := range slow {
		got = append(got, e.Action)
	}
	if fmt.Sprint(got) != "[0 1]" {
		t.Errorf("the slow reader got %v before its end, want [0 1]", got)
	}
	l.drop(slow) // a second end does nothing
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"":                     {},
		"1136073600":           time.Unix(1136073600, 0),
		"1136073600.000000001": time.Unix(1136073600, 1),
		"1136073600.5":         time.Unix(1136073600, 5e8),
		"10m":                  now.Add(-10 * time.Minute),
		"2006-01-02T15:04:05Z": time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC),
		"2006-01-02":           time.Date(2006, 1, 2, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := ParseTime(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"yesterday", "1.2.3", "99999999999999999999", "1.0000000001"} {
		if got, err := ParseTime(in, now); err == nil {
			t.Errorf("%q: %v", in, got)
		}
	}
}
