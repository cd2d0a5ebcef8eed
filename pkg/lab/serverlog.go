package lab

import (
	"io"
	stdlog "log"

	"github.com/sirupsen/logrus"
)

const debugLevel = logrus.DebugLevel

// stdLogger is for net/http's complaints: clients that go away in a handshake.
func stdLogger(w io.Writer) *stdlog.Logger { return stdlog.New(w, "", 0) }
