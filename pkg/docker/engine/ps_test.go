package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/google/go-cmp/cmp"
)

func psInput() spec.ProcessTable {
	now := time.Date(2026, 7, 5, 12, 0, 0, 0, time.UTC)
	return spec.ProcessTable{Read: now, MemoryBytes: 200 << 20, Processes: []spec.ProcessInfo{
		{PID: 92, PPID: 1, PGID: 92, SID: 92, User: "root", Group: "root", Command: "sh", Args: []string{"/bin/sh", "-c", "echo \x1b[1mhi"}, State: "S", TTY: "pts/0",
			Threads: 3, Nice: 5, Priority: 25, RSS: 3 << 20, VSize: 7 << 20, Foreground: true, Started: now.Add(-100 * time.Second), CPU: 25 * time.Second},
		{PID: 100, PPID: 92, PGID: 92, SID: 92, UID: 33, GID: 33, User: "www", Group: "33", Command: "gone", State: "Z", Threads: 1, Priority: 0, Nice: -20,
			Started: now.Add(-50 * time.Hour), CPU: 26*time.Hour + 61*time.Second},
	}}
}

func TestPs(t *testing.T) {
	for args, want := range map[string]string{
		"": `UID|PID|PPID|C|STIME|TTY|TIME|CMD
root|92|1|25|11:58|pts/0|00:00:25|/bin/sh -c echo ?[1mhi
www|100|92|52|Jul03|?|1-02:01:01|[gone] <defunct>`,
		"-e": `PID|TTY|TIME|CMD
92|pts/0|00:00:25|sh
100|?|1-02:01:01|gone`,
		"aux": `USER|PID|%CPU|%MEM|VSZ|RSS|TTY|STAT|START|TIME|COMMAND
root|92|25.0|1.5|7168|3072|pts/0|SNsl+|11:58|0:25|/bin/sh -c echo ?[1mhi
www|100|52.0|0.0|0|0|?|Z<|Jul03|1561:01|[gone] <defunct>`,
		"ax": `PID|TTY|STAT|TIME|COMMAND
92|pts/0|SNsl+|0:25|/bin/sh -c echo ?[1mhi
100|?|Z<|1561:01|[gone] <defunct>`,
		"-o pid,etime,comm=NAME -opri,nlwp": `PID|ELAPSED|NAME|PRI|NLWP
92|01:40|sh|14|3
100|2-02:00:00|gone|39|1`,
		"-eo user,pid --format=lstart,etimes": `USER|PID|STARTED|ELAPSED
root|92|Sun Jul  5 11:58:20 2026|100
www|100|Fri Jul  3 10:00:00 2026|180000`,
	} {
		columns, err := psColumns(args)
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		titles, rows := psTable(columns, psInput())
		lines := []string{strings.Join(titles, "|")}
		for _, r := range rows {
			lines = append(lines, strings.Join(r, "|"))
		}
		if d := cmp.Diff(want, strings.Join(lines, "\n")); d != "" {
			t.Errorf("%q:\n%s", args, d)
		}
	}
}

func TestPsRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"-l": `"l" of "-l"`, "-eZ": `"Z" of "-eZ"`, "--forest": `"--forest"`, "-o pid,wchan": `column "wchan"`, "-o": "names no column", "-o comm": "Couldn't find PID",
		"-o user=PID,pid": "is not allowed", "-x": `"x" of "-x"`, "-o pid,": "", "f": `"f" of "f"`,
	} {
		if _, err := psColumns(args); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
	}
}

// FuzzPsColumns: any arguments give columns with a PID among them, or are refused.
func FuzzPsColumns(f *testing.F) {
	for _, s := range []string{"-ef", "aux", "-o pid,comm", "-eo user=X,pid -f", "--format pid"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, args string) {
		columns, err := psColumns(args)
		if err != nil {
			return
		}
		titles, rows := psTable(columns, psInput())
		for _, r := range rows {
			if len(r) != len(titles) || len(r) == 0 {
				t.Errorf("%q: %d cells under %d titles", args, len(r), len(titles))
			}
		}
	})
}
