package tetherproto

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"
)

// counted counts what is written to a connection.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	c.bytes.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// An emulated UART takes an interrupt for 14 bytes, so what an exec costs is how many
// bytes cross the line for it. These are both directions together, with frames and
// acknowledgements; 830 of the least of some were seen.
const mostForExec = 950

func TestExecIsFewBytes(t *testing.T) {
	l := newLine(t, fault{})
	a, b := net.Pipe()
	var crossed atomic.Int64
	guest, engine := counted{a, &crossed}, counted{b, &crossed}
	l.cut = func() { a.Close(); b.Close() }
	l.wg.Go(func() { _ = l.listener.Serve(l.ctx, NewStream(guest)) })
	l.wg.Go(func() { l.engine(NewStream(engine)) })
	link, other := l.accept(), <-l.got
	host, key := newSigner(t), newSigner(t)
	done := make(chan *ServerConn, 1)
	go func() {
		sc, err := ServeConn(l.ctx, link, ServerConfig{HostKey: host, Authorized: key.PublicKey(), Log: quiet()}, &fake{ended: make(chan struct{})})
		if err != nil {
			t.Error(err)
		}
		done <- sc
	}()
	c, err := NewClient(l.ctx, other, ClientConfig{Signer: key, HostKey: host.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	sc := <-done
	defer func() { c.Close(); <-sc.Done() }()
	p := spec.Process{Path: "echo", Args: []string{"hello"}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=0123456789ab"}}
	least := int64(0)
	for range 10 { // when acknowledgements go alone is a matter of time
		var out strings.Builder
		before := crossed.Load()
		st, err := c.Exec(l.ctx, strings.Repeat("0123456789abcdef", 4), p, spec.Streams{Stdout: &out, Stderr: &out}, func(int) {})
		if err != nil || st.Code != 9 || out.Len() == 0 {
			t.Fatalf("%+v, %q, %v", st, out.String(), err)
		}
		if n := crossed.Load() - before; least == 0 || n < least {
			least = n
		}
	}
	if least > mostForExec {
		t.Errorf("an exec takes %d bytes, want at most %d", least, mostForExec)
	}
}
