package vsphere

import (
	"context"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
)

// Calls that go side by side find their connections again: each new one is a
// handshake.
func TestConnectionsKept(t *testing.T) {
	s := newSim(t, simulator.ESX())
	var made atomic.Int32
	se := s.dial(t)
	tr := se.vim.Client.DefaultTransport()
	dial := tr.DialTLSContext
	tr.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		made.Add(1)
		return dial(ctx, network, addr)
	}
	round := func() {
		t.Helper()
		var begun, ended sync.WaitGroup
		begun.Add(idleConns)
		for range idleConns {
			ended.Go(func() {
				begun.Done()
				begun.Wait()
				if err := se.touch(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		ended.Wait()
	}
	const rounds = 10
	for range rounds {
		round()
	}
	// A connection may come back a moment after its call; two are always kept.
	if n := made.Load(); n > 2*idleConns {
		t.Errorf("%d connections were made for %d times %d calls", n, rounds, idleConns)
	}
}

// So do those whose answers end behind their document, as long ones do.
func TestConnectionsKeptAfterAnswers(t *testing.T) {
	var made atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml; charset=utf-8")
		fmt.Fprint(w, "<a></a>")
		w.(http.Flusher).Flush()
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			made.Add(1)
		}
	}
	srv.StartTLS()
	defer srv.Close()
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := soap.NewClient(u, true)
	pinTLS(c, u, "", true)
	for range 10 {
		res, err := c.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct{}
		if err := xml.NewDecoder(res.Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := made.Load(); n != 1 {
		t.Errorf("%d connections were made for calls one after another", n)
	}
}
