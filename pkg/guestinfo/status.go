package guestinfo

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// Status is what the guest has reported of itself in its keys.
type Status struct {
	// Pid of the container's process; Running is true from its start to its end
	// as far as the guest could report (a VM that is off runs nothing).
	Pid     int
	Running bool
	// Paused is true while its processes are frozen.
	Paused bool
	// Exit is the last run: Started is set as soon as it started, Stopped when
	// it ended.
	Exit spec.ExitStatus
	// Addresses by network name, CIDR form.
	Addresses map[string]string

	HostKey     string // tether's SSH public key of this boot
	BootID      string
	TetherState string
	SealKey     string // appliance only
	EngineState string // appliance only
}

// Pair is one key to write. An empty value unsets the key.
type Pair struct{ Key, Value string }

// StartedPairs are the keys that the guest writes when session id started, in
// the order to write them: the results of an earlier run go first.
func StartedPairs(id string, pid int, at time.Time) []Pair {
	return []Pair{
		{sessionKey(id, "stoptime"), ""},
		{sessionKey(id, "status"), ""},
		{sessionKey(id, "signal"), ""},
		{sessionKey(id, "error"), ""},
		{sessionKey(id, "oom"), ""},
		{sessionKey(id, "paused"), ""},
		{sessionKey(id, "pid"), strconv.Itoa(pid)},
		{sessionKey(id, "started"), formatTime(at)},
	}
}

// ExitedPairs are the keys that the guest writes when session id ended or could
// not start, in the order to write them: stoptime comes last and makes the rest
// valid.
func ExitedPairs(id string, exit spec.ExitStatus) []Pair {
	text, _ := encodeText(strings.ToValidUTF8(exit.Error, "\ufffd")) // valid, so no error
	oom, _ := encodeValue(&exit.OOM)
	return []Pair{
		{sessionKey(id, "started"), formatTime(exit.Started)},
		{sessionKey(id, "pid"), ""},
		{sessionKey(id, "status"), strconv.Itoa(exit.Code)},
		{sessionKey(id, "signal"), encodeInt(int64(exit.Signal))},
		{sessionKey(id, "error"), text},
		{sessionKey(id, "oom"), oom},
		{sessionKey(id, "stoptime"), formatTime(exit.Stopped)},
	}
}

// PausedPairs are the keys that the guest writes when session id is frozen, or goes
// on.
func PausedPairs(id string, paused bool) []Pair {
	text, _ := encodeValue(&paused) // a bool, so no error
	return []Pair{{sessionKey(id, "paused"), text}}
}

// OOMPairs are the keys that the guest writes when the kernel has killed a process
// of session id, which may go on, for want of memory.
func OOMPairs(id string) []Pair {
	yes := true
	text, _ := encodeValue(&yes) // a bool, so no error
	return []Pair{{sessionKey(id, "oom"), text}}
}

// DecodeStatus reads what the guest of container id reported, from all keys of
// its VM. It never fails as a whole: a guest may write what it wants, so what
// can't be read is left zero and named in the error.
func DecodeStatus(id string, keys map[string]string) (Status, error) {
	s := Status{
		HostKey:     keys[KeyHostKey],
		BootID:      keys[KeyBootID],
		TetherState: keys[KeyTetherState],
		SealKey:     keys[KeySealKey],
		EngineState: keys[KeyEngineState],
	}
	var bad []string
	read := func(name string, to any) {
		key := sessionKey(id, name)
		if text := keys[key]; text != "" && decodeValue(text, to) != nil {
			bad = append(bad, key)
		}
	}
	read("pid", &s.Pid)
	read("status", &s.Exit.Code)
	read("signal", &s.Exit.Signal)
	read("error", &s.Exit.Error)
	read("oom", &s.Exit.OOM)
	read("started", &s.Exit.Started)
	read("stoptime", &s.Exit.Stopped)
	read("paused", &s.Paused)
	s.Running = !s.Exit.Started.IsZero() && s.Exit.Stopped.IsZero()
	s.Paused = s.Paused && s.Running

	for key, text := range keys {
		name, ok := strings.CutPrefix(key, prefixGuest+"networks|")
		if !ok {
			continue
		}
		name, ok = strings.CutSuffix(name, ".assigned.ip")
		if !ok || text == "" {
			continue
		}
		if name, ok = unescapeKey(name); !ok {
			continue
		}
		if s.Addresses == nil {
			s.Addresses = map[string]string{}
		}
		s.Addresses[name] = text
	}
	if bad != nil {
		return s, fmt.Errorf("values of %s cannot be read", strings.Join(bad, ", "))
	}
	return s, nil
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
