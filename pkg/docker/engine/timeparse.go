package engine

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseTime reads a time as Docker's API takes it: seconds since 1970 with an
// optional fraction, a Go duration before now ("10m"), RFC 3339, or a local
// date with or without time. Empty is the zero time.
func ParseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, ok := parseSeconds(s); ok {
		return t, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t, nil
		}
	}
	return time.Time{}, invalid("failed to parse value as time or duration: invalid seconds %q: invalid syntax", s)
}

// parseSeconds reads "1136073600.000000001" without losing nanoseconds.
func parseSeconds(s string) (time.Time, bool) {
	whole, frac, _ := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || len(frac) > 9 || sec > math.MaxInt64/int64(time.Second) || sec < math.MinInt64/int64(time.Second) {
		return time.Time{}, false
	}
	var nano int64
	if frac != "" {
		n, err := strconv.ParseUint(frac+strings.Repeat("0", 9-len(frac)), 10, 64)
		if err != nil {
			return time.Time{}, false
		}
		nano = int64(n)
	}
	if strings.HasPrefix(whole, "-") {
		nano = -nano
	}
	return time.Unix(sec, nano).UTC(), true
}
