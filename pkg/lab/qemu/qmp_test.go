package qemu

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// script plays QEMU: answers each command by its name.
func script(t *testing.T, conn net.Conn, greeting string, answer func(cmd string, id int) string) {
	t.Helper()
	go func() {
		defer conn.Close()
		if _, err := fmt.Fprintln(conn, greeting); err != nil {
			return
		}
		for dec := json.NewDecoder(conn); ; {
			var c struct {
				Execute string
				ID      int
			}
			if dec.Decode(&c) != nil {
				return
			}
			s := answer(c.Execute, c.ID)
			if s == "" {
				return
			}
			if _, err := fmt.Fprintln(conn, s); err != nil {
				return
			}
		}
	}()
}

const greeting = `{"QMP":{"version":{"qemu":{"major":7}},"capabilities":[]}}`

func TestQMP(t *testing.T) {
	ours, theirs := net.Pipe()
	script(t, theirs, greeting, func(cmd string, id int) string {
		switch cmd {
		case "query-status":
			return fmt.Sprintf(`{"event":"RESUME","data":{}} {"return":{"status":"running"},"id":%d}`, id)
		case "bad":
			return fmt.Sprintf(`{"error":{"class":"CommandNotFound","desc":"no such thing"},"id":%d}`, id)
		case "quit":
			return ""
		}
		return fmt.Sprintf(`{"return":{},"id":%d}`, id)
	})
	events := make(chan string, 4)
	q, err := newQMP(t.Context(), ours, func(e qmpEvent) { events <- e.Name })
	if err != nil {
		t.Fatal(err)
	}
	var st struct{ Status string }
	if err := q.run(t.Context(), "query-status", nil, &st); err != nil || st.Status != "running" {
		t.Fatalf("%v %v", st, err)
	}
	if e := <-events; e != "RESUME" {
		t.Fatal(e)
	}
	if err := q.run(t.Context(), "bad", map[string]int{"x": 1}, nil); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Fatal(err)
	}
	if err := q.run(t.Context(), "quit", nil, nil); !errdefs.IsUnavailable(err) {
		t.Fatal(err)
	}
	q.close()
	if err := q.run(t.Context(), "again", nil, nil); err == nil {
		t.Fatal("command on a closed connection")
	}
}

func TestQMPNoGreeting(t *testing.T) {
	ours, theirs := net.Pipe()
	script(t, theirs, `{"hello":1}`, func(string, int) string { return "" })
	if _, err := newQMP(t.Context(), ours, nil); err == nil {
		t.Fatal("accepted")
	}
	ours, theirs = net.Pipe() // silent
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := newQMP(ctx, ours, nil); err == nil || ctx.Err() == nil {
		t.Fatal(err)
	}
}
