package main

import (
	"net"
	"strings"
	"testing"
	"time"
)

func TestFlow(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- serve(l) }()
	var out strings.Builder
	if err := run([]string{"send", l.Addr().String(), "20ms"}, &out); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), " MB/s\n") || strings.HasPrefix(out.String(), "0.000") {
		t.Errorf("%q", out.String())
	}
	_ = l.Close()
	<-done
	// Nobody listens any more.
	if _, err := send(l.Addr().String(), time.Second); err == nil {
		t.Error("sent to nobody")
	}
	for _, args := range [][]string{nil, {"send", "x"}, {"send", "x", "-1s"}, {"send", "x", "soon"}, {"listen"}} {
		if err := run(args, &out); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
