package install

import (
	"bytes"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Formatter writes log lines the way vic-machine's users know them:
//
//	INFO[2016-08-06T19:52:00Z] ### Installing VCH ####
//
// Four letters of the level, the time in UTC to the second, the message, then
// fields if there are any. It never uses colours, so that output on a terminal
// and in a file are the same.
type Formatter struct{}

var _ logrus.Formatter = Formatter{}

// Format renders one entry.
func (Formatter) Format(e *logrus.Entry) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s[%s] %s", level(e.Level), e.Time.UTC().Format(time.RFC3339), strings.TrimRight(e.Message, " \n"))
	names := make([]string, 0, len(e.Data))
	for name := range e.Data {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&b, " %s=%v", name, e.Data[name])
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func level(l logrus.Level) string {
	s := strings.ToUpper(l.String())
	if len(s) > 4 {
		s = s[:4]
	}
	return s
}
