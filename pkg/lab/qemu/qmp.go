package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containerd/errdefs"
)

// qmp is a client of QEMU's machine protocol (docs/interop/qmp-spec.txt) on one
// connection. Commands may come from any goroutine.
type qmp struct {
	conn  net.Conn
	event func(qmpEvent) // called in order by the reader; must not block on commands
	done  chan struct{}  // closed when the connection has ended

	mu      sync.Mutex // guards what follows and the order of writes
	next    int
	waiting map[int]chan qmpMessage
}

// qmpEvent is an asynchronous report such as SHUTDOWN or VSERPORT_CHANGE.
type qmpEvent struct {
	Name string
	Data json.RawMessage
}

type qmpMessage struct {
	QMP    json.RawMessage `json:"QMP"`
	ID     int             `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct{ Class, Desc string }
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
}

// errQMPGone ends commands whose connection ended: QEMU is gone, most likely.
var errQMPGone = fmt.Errorf("connection to QEMU ended: %w", errdefs.ErrUnavailable)

// newQMP waits for the greeting on conn, which it owns from then on, and
// negotiates. QEMU may still be starting.
func newQMP(ctx context.Context, conn net.Conn, event func(qmpEvent)) (*qmp, error) {
	q := &qmp{conn: conn, event: event, done: make(chan struct{}), waiting: map[int]chan qmpMessage{}}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	dec := json.NewDecoder(conn)
	var hello qmpMessage
	err := dec.Decode(&hello)
	if err == nil && hello.QMP == nil {
		err = errors.New("no greeting")
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("greet QEMU: %w", err)
	}
	go q.read(dec)
	if err := q.run(ctx, "qmp_capabilities", nil, nil); err != nil {
		q.close()
		return nil, err
	}
	return q, nil
}

func (q *qmp) close() {
	_ = q.conn.Close()
	<-q.done
}

// read belongs to the client's own goroutine.
func (q *qmp) read(dec *json.Decoder) {
	defer close(q.done)
	defer q.conn.Close()
	for {
		var m qmpMessage
		if err := dec.Decode(&m); err != nil {
			return // ended or out of step: either way no answer can be trusted
		}
		if m.Event != "" {
			q.event(qmpEvent{Name: m.Event, Data: m.Data})
			continue
		}
		q.mu.Lock()
		ch := q.waiting[m.ID]
		delete(q.waiting, m.ID)
		q.mu.Unlock()
		if ch != nil {
			ch <- m // has room for it
		}
	}
}

// run executes a command and decodes its result into out, if not nil.
func (q *qmp) run(ctx context.Context, command string, args, out any) error {
	ch := make(chan qmpMessage, 1)
	q.mu.Lock()
	q.next++
	id := q.next
	q.waiting[id] = ch
	b, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        int    `json:"id"`
	}{command, args, id})
	if err == nil {
		_, err = q.conn.Write(append(b, '\n'))
	}
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		delete(q.waiting, id)
		q.mu.Unlock()
	}()
	if err != nil {
		if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
			err = errQMPGone
		}
		return fmt.Errorf("QEMU %s: %w", command, err)
	}
	select {
	case m := <-ch:
		if m.Error != nil {
			return fmt.Errorf("QEMU %s: %s", command, m.Error.Desc)
		}
		if out != nil {
			return json.Unmarshal(m.Return, out)
		}
		return nil
	case <-q.done:
		return fmt.Errorf("QEMU %s: %w", command, errQMPGone)
	case <-ctx.Done():
		return fmt.Errorf("QEMU %s: %w", command, ctx.Err())
	}
}
