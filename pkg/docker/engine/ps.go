package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/vic-engine/vic/pkg/spec"
)

// column is one column of ps.
type column struct {
	title string
	value func(p spec.ProcessInfo, t spec.ProcessTable) string
}

// psNames are the columns that ps -o knows by name, as far as a container has them;
// titles and forms are those of procps (ps(1), "STANDARD FORMAT SPECIFIERS").
func psNames() map[string]column {
	text := func(title string, f func(spec.ProcessInfo) string) column {
		return column{title, func(p spec.ProcessInfo, _ spec.ProcessTable) string { return f(p) }}
	}
	number := func(title string, f func(spec.ProcessInfo) int) column {
		return text(title, func(p spec.ProcessInfo) string { return strconv.Itoa(f(p)) })
	}
	user := func(title string) column { return text(title, func(p spec.ProcessInfo) string { return p.User }) }
	group := func(title string) column { return text(title, func(p spec.ProcessInfo) string { return p.Group }) }
	args := func(title string) column { return text(title, commandLineOf) }
	comm := func(title string) column {
		return text(title, func(p spec.ProcessInfo) string { return printable(p.Command) })
	}
	tty := func(title string) column { return text(title, ttyOf) }
	cputime := func(title string) column { return text(title, func(p spec.ProcessInfo) string { return hours(p.CPU) }) }
	percent := func(title string) column {
		return column{title, func(p spec.ProcessInfo, t spec.ProcessTable) string { return tenths(share(p, t) * 100) }}
	}
	memory := func(title string) column {
		return column{title, func(p spec.ProcessInfo, t spec.ProcessTable) string {
			if t.MemoryBytes == 0 {
				return "0.0"
			}
			return tenths(float64(p.RSS) / float64(t.MemoryBytes) * 100)
		}}
	}
	pgid := func(p spec.ProcessInfo) int { return p.PGID }
	sid := func(p spec.ProcessInfo) int { return p.SID }
	uid := func(p spec.ProcessInfo) int { return p.UID }
	gid := func(p spec.ProcessInfo) int { return p.GID }
	rss := func(p spec.ProcessInfo) int { return int(p.RSS >> 10) }
	vsz := func(p spec.ProcessInfo) int { return int(p.VSize >> 10) }
	nice := func(p spec.ProcessInfo) int { return p.Nice }
	threads := func(p spec.ProcessInfo) int { return p.Threads }
	state := func(p spec.ProcessInfo) string { return p.State }
	return map[string]column{
		"pid": number("PID", func(p spec.ProcessInfo) int { return p.PID }), "tgid": number("TGID", func(p spec.ProcessInfo) int { return p.PID }),
		"ppid": number("PPID", func(p spec.ProcessInfo) int { return p.PPID }),
		"pgid": number("PGID", pgid), "pgrp": number("PGRP", pgid), "sid": number("SID", sid), "sess": number("SESS", sid), "session": number("SESS", sid),
		"uid": number("UID", uid), "euid": number("EUID", uid), "gid": number("GID", gid), "egid": number("EGID", gid),
		"user": user("USER"), "euser": user("EUSER"), "uname": user("USER"),
		"group": group("GROUP"), "egroup": group("EGROUP"),
		"args": args("COMMAND"), "cmd": args("CMD"), "command": args("COMMAND"), "comm": comm("COMMAND"), "ucmd": comm("CMD"), "ucomm": comm("COMMAND"),
		"tty": tty("TT"), "tt": tty("TT"), "tname": tty("TTY"),
		"time": cputime("TIME"), "cputime": cputime("TIME"), "bsdtime": text("TIME", func(p spec.ProcessInfo) string { return minutes(p.CPU) }),
		"etime": {"ELAPSED", func(p spec.ProcessInfo, t spec.ProcessTable) string { return elapsedText(elapsed(p, t)) }},
		"etimes": {"ELAPSED", func(p spec.ProcessInfo, t spec.ProcessTable) string {
			return strconv.Itoa(int(elapsed(p, t).Seconds()))
		}},
		"stime": {"STIME", startText}, "start_time": {"START", startText}, "bsdstart": {"START", startText},
		"lstart": text("STARTED", func(p spec.ProcessInfo) string { return p.Started.UTC().Format(time.ANSIC) }),
		"pcpu":   percent("%CPU"), "%cpu": percent("%CPU"),
		"c": {"C", func(p spec.ProcessInfo, t spec.ProcessTable) string {
			return strconv.Itoa(int(min(share(p, t)*100, 99)))
		}},
		"pmem": memory("%MEM"), "%mem": memory("%MEM"),
		"rss": number("RSS", rss), "rssize": number("RSS", rss), "rsz": number("RSZ", rss), "vsz": number("VSZ", vsz), "vsize": number("VSZ", vsz),
		"ni": number("NI", nice), "nice": number("NI", nice), "pri": number("PRI", func(p spec.ProcessInfo) int { return 39 - p.Priority }),
		"nlwp": number("NLWP", threads), "thcount": number("THCNT", threads),
		"s": text("S", state), "state": text("S", state), "stat": text("STAT", stateText),
	}
}

// psFormats are the lists of columns that ps shows for its options.
func psFormat(names ...string) []column {
	all := psNames()
	out := make([]column, 0, len(names))
	for _, n := range names {
		c := all[n]
		out = append(out, c)
	}
	return out
}

func titled(c []column, n int, title string) []column {
	c[n].title = title
	return c
}

func formatFull() []column {
	return titled(psFormat("user", "pid", "ppid", "c", "stime", "tname", "time", "cmd"), 0, "UID")
}

func formatPlain() []column {
	return titled(psFormat("pid", "tname", "time", "ucmd"), 3, "CMD")
}

func formatUser() []column {
	return psFormat("user", "pid", "%cpu", "%mem", "vsz", "rss", "tname", "stat", "start_time", "bsdtime", "args")
}

func formatBSD() []column { return psFormat("pid", "tname", "stat", "bsdtime", "args") }

// psColumns reads the arguments of ps: those that choose columns. Which processes
// are shown is not theirs to choose, so that -e, -A, a and x change nothing. What is
// not known is refused by its name.
func psColumns(args string) ([]column, error) {
	if strings.TrimSpace(args) == "" {
		args = "-ef"
	}
	var full, user, bsd bool
	var own []column
	words := strings.FieldsFunc(args, func(r rune) bool { return strings.ContainsRune("\t\n\f\r ", r) })
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		if long, ok := strings.CutPrefix(w, "--"); ok {
			name, list, given := strings.Cut(long, "=")
			if name != "format" {
				return nil, invalid("ps: option %q is not supported: want columns, by -f, u or -o", w)
			}
			if !given {
				list, words = next(words)
			}
			more, err := psList(list)
			if err != nil {
				return nil, err
			}
			own = append(own, more...)
			continue
		}
		letters, dashed := strings.CutPrefix(w, "-")
		bsd = bsd || !dashed
		for i, l := range letters {
			switch {
			case l == 'o':
				list := letters[i+1:]
				if list == "" {
					list, words = next(words)
				}
				more, err := psList(list)
				if err != nil {
					return nil, err
				}
				own = append(own, more...)
			case dashed && l == 'f':
				full = true
			case !dashed && l == 'u':
				user = true
			case dashed && strings.ContainsRune("eAw", l), !dashed && strings.ContainsRune("axw", l):
			default:
				return nil, invalid("ps: option %q of %q is not supported: want columns, by -f, u or -o", string(l), w)
			}
			if l == 'o' {
				break
			}
		}
	}
	out := formatPlain()
	switch {
	case own != nil:
		out = own
	case user:
		out = formatUser()
	case full:
		out = formatFull()
	case bsd:
		out = formatBSD()
	}
	if !slices.ContainsFunc(out, func(c column) bool { return c.title == "PID" }) {
		return nil, invalid("Couldn't find PID field in ps output") // Docker's words
	}
	return out, nil
}

func next(words []string) (string, []string) {
	if len(words) == 0 {
		return "", nil
	}
	return words[0], words[1:]
}

// psList reads the list of columns of -o: "pid,user=WHO".
func psList(list string) ([]column, error) {
	known := psNames()
	var out []column
	for list != "" {
		var name, title string
		name, list, _ = strings.Cut(list, ",")
		name, title, named := strings.Cut(name, "=")
		c, ok := known[strings.ToLower(name)]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			return nil, invalid("ps: column %q is not known: want some of %s", name, strings.Join(names, ", "))
		}
		if named {
			if strings.HasPrefix(title, "PID") && name != "pid" {
				return nil, invalid("specifying \"%s=%s\" is not allowed", name, title) // Docker's words
			}
			c.title = title
		}
		out = append(out, c)
	}
	if out == nil {
		return nil, invalid("ps: -o names no column")
	}
	return out, nil
}

// psTable fills the columns.
func psTable(columns []column, t spec.ProcessTable) (titles []string, rows [][]string) {
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	rows = [][]string{}
	for _, p := range t.Processes {
		row := make([]string, 0, len(columns))
		for _, c := range columns {
			row = append(row, c.value(p, t))
		}
		rows = append(rows, row)
	}
	return titles, rows
}

// commandLineOf is the command line, or the program's name in brackets.
func commandLineOf(p spec.ProcessInfo) string {
	if len(p.Args) > 0 {
		return printable(strings.Join(p.Args, " "))
	}
	text := "[" + printable(p.Command) + "]"
	if p.State == "Z" {
		text += " <defunct>"
	}
	return text
}

// printable is a text of a process's without what could do something to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

func ttyOf(p spec.ProcessInfo) string {
	if p.TTY == "" {
		return "?"
	}
	return p.TTY
}

// stateText is the STAT column.
func stateText(p spec.ProcessInfo) string {
	s := p.State
	switch {
	case p.Nice < 0:
		s += "<"
	case p.Nice > 0:
		s += "N"
	}
	for _, f := range []struct {
		on   bool
		mark string
	}{{p.Locked, "L"}, {p.SID == p.PID, "s"}, {p.Threads > 1, "l"}, {p.Foreground, "+"}} {
		if f.on {
			s += f.mark
		}
	}
	return s
}

func elapsed(p spec.ProcessInfo, t spec.ProcessTable) time.Duration {
	return max(0, t.Read.Sub(p.Started))
}

// share is the part of one CPU that the process has used since its start.
func share(p spec.ProcessInfo, t spec.ProcessTable) float64 {
	if d := elapsed(p, t); d > 0 {
		return float64(p.CPU) / float64(d)
	}
	return 0
}

func tenths(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

// startText is the time of the start, of days past the day, of years past the year.
func startText(p spec.ProcessInfo, t spec.ProcessTable) string {
	at, now := p.Started.UTC(), t.Read.UTC()
	switch {
	case at.Year() != now.Year():
		return at.Format("2006")
	case at.YearDay() != now.YearDay():
		return at.Format("Jan02")
	}
	return at.Format("15:04")
}

// hours is [days-]hours:minutes:seconds.
func hours(d time.Duration) string {
	s := int(d.Seconds())
	text := fmt.Sprintf("%02d:%02d:%02d", s/3600%24, s/60%60, s%60)
	if days := s / 86400; days > 0 {
		text = fmt.Sprintf("%d-%s", days, text)
	}
	return text
}

// minutes is minutes:seconds.
func minutes(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// elapsedText is [[days-]hours:]minutes:seconds.
func elapsedText(d time.Duration) string {
	if d < time.Hour {
		s := int(d.Seconds())
		return fmt.Sprintf("%02d:%02d", s/60, s%60)
	}
	return hours(d)
}
