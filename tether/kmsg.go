package tether

import (
	"bytes"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/sirupsen/logrus"
)

// maxRecord is how much of a line reaches the console: the kernel refuses
// records of more than about 1000 bytes (LOG_LINE_MAX, kernel/printk).
const maxRecord = 960

// newLog makes a logger whose lines are records of the kernel's log: "<5>vic:
// message key=value". The kernel adds the time since boot and prints them on the
// console by polling the UART.
func newLog(w io.Writer, debug bool) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(w)
	l.SetFormatter(kmsgFormat{})
	if debug {
		l.SetLevel(logrus.DebugLevel)
	}
	return logrus.NewEntry(l)
}

// kmsgFormat writes one line for one entry, whatever is in it.
type kmsgFormat struct{}

func (kmsgFormat) Format(e *logrus.Entry) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "<%d>vic: %s", kernelLevel(e.Level), oneLine(strings.TrimSpace(e.Message)))
	names := make([]string, 0, len(e.Data))
	for k := range e.Data {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		v := fmt.Sprint(e.Data[k])
		if strings.ContainsAny(v, " \"\n") {
			v = fmt.Sprintf("%q", v)
		}
		fmt.Fprintf(&b, " %s=%s", k, oneLine(v))
	}
	if b.Len() > maxRecord {
		b.Truncate(maxRecord)
		b.WriteString("…")
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// kernelLevel is the syslog severity (RFC 5424) of a log level. Our Info is as
// loud as a warning of the kernel's, which is what the console shows: what
// drivers tell of themselves is no news there (dmesg has it), and each byte on
// the console takes about 10 µs of a boot.
func kernelLevel(l logrus.Level) int {
	switch l {
	case logrus.PanicLevel, logrus.FatalLevel:
		return 2
	case logrus.ErrorLevel:
		return 3
	case logrus.WarnLevel, logrus.InfoLevel:
		return 4
	}
	return 7
}

// oneLine keeps control characters, with which a container's output could
// forge lines, off the console.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
