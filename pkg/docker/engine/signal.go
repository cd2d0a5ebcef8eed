package engine

import (
	"strconv"
	"strings"

	"github.com/moby/sys/signal"
)

// parseSignal checks a signal's name or number and gives the name that the
// port layer wants ("SIGTERM"; a number where Linux has no name).
func parseSignal(raw string) (string, error) {
	sig, err := signal.ParseSignal(raw)
	if err != nil {
		return "", invalid("invalid signal: %s", raw)
	}
	if !signal.ValidSignalForPlatform(sig) {
		return "", invalid("the linux daemon does not support signal %d", sig)
	}
	for name, s := range signal.SignalMap {
		// RTMIN+n names and aliases (CLD, IOT, POLL) have numbers; take the plain name.
		if s == sig && !strings.HasPrefix(name, "RT") && name != "CLD" && name != "IOT" && name != "POLL" && name != "STKFLT" {
			return "SIG" + name, nil
		}
	}
	return strconv.Itoa(int(sig)), nil
}
