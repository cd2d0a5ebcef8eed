package attach

import (
	"net"
	"sync"

	"github.com/sirupsen/logrus"
)

// wire is a host's connection that may be a raw serial stream or telnet with
// VMware's extension. A host that proxies speaks telnet first, and no link
// frame begins with IAC, so that the first byte tells. Until then bytes go out
// as they are: the only ones sent by then, link probes, have no IAC in them.
type wire struct {
	net.Conn
	log *logrus.Entry

	// Read by one goroutine (the stream's reader) alone.
	decided bool
	in      telnetReader
	pending []byte

	mu     sync.Mutex // guards telnet and writes
	telnet bool
}

func newWire(c net.Conn, log *logrus.Entry) *wire { return &wire{Conn: c, log: log} }

// Read gives the serial line's bytes.
func (w *wire) Read(b []byte) (int, error) {
	for len(w.pending) == 0 {
		n, err := w.Conn.Read(b)
		if n > 0 && !w.decided {
			w.decided = true
			if b[0] == iac {
				w.mu.Lock()
				w.telnet = true
				w.mu.Unlock()
				w.log.Debug("serial port speaks telnet (vSPC)")
			}
		}
		if !w.telnet { // set by this goroutine alone
			return n, err
		}
		data, answer := w.in.feed(b[:n])
		if len(answer) > 0 {
			if werr := w.raw(answer); werr != nil && err == nil {
				err = werr
			}
		}
		w.pending = data
		if err != nil {
			n := copy(b, w.pending)
			w.pending = nil
			return n, err
		}
	}
	n := copy(b, w.pending)
	w.pending = w.pending[n:]
	return n, nil
}

// Write sends serial bytes.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.telnet {
		return w.Conn.Write(b)
	}
	if _, err := w.Conn.Write(escape(b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (w *wire) raw(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.Conn.Write(b)
	return err
}
