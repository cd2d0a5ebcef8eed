package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/pbm"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// maxRequest bounds a SOAP request: four times the largest configuration.
const maxRequest = 4 * maxConfig

// listenAt tells the simulator where it is.
func (l *Lab) listenAt(addr *net.TCPAddr) {
	l.url = &url.URL{Scheme: "https", Host: addr.String(), Path: vim25.Path}
	withUser := *l.url
	withUser.User = url.User(l.cfg.User) // the password is checked by validLogin
	l.svc.Listen = &withUser
	m := l.svc.Context.Map
	sm := m.SessionManager()
	sm.ServiceHostName = addr.String()
	sm.ValidLogin = l.validLogin
	m.OptionManager().UpdateOptions(&types.UpdateOptions{ChangedValue: []types.BaseOptionValue{
		&types.OptionValue{Key: "vcsim.server.url", Value: l.url.String()}}})
}

// handler serves the API: SOAP, versions, datastore files and NFC leases.
func (l *Lab) handler() http.Handler {
	c := l.svc.Context
	l.svc.RegisterSDK(c.Map, c.Map.Path+"/vimService")
	sdk := l.svc.ServeMux
	mux := http.NewServeMux()
	if l.storagePolicies != nil {
		l.svc.RegisterSDK(l.storagePolicies.registry)
		mux.HandleFunc(pbm.Path, l.guarded(sdk))
	}
	mux.HandleFunc(vim25.Path+"/vimServiceVersions.xml", l.svc.ServiceVersions)
	mux.HandleFunc(vim25.Path, l.guarded(sdk))
	mux.HandleFunc(vim25.Path+"/", l.guarded(sdk))
	mux.HandleFunc("/folder/", l.serveFolder)
	mux.HandleFunc("/folder", l.serveFolder)
	mux.HandleFunc("/nfc/", l.serveNFC)
	if c.Map.IsVPX() {
		t := l.tagging()
		mux.Handle(restSessions, t)
		mux.Handle(restTagging, t)
	}
	return mux
}

// serve runs the server until ctx ends.
func (l *Lab) serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           l.handler(),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          nil,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{l.cert}, MinVersion: tls.VersionTLS12},
		// HTTP/1.1 only, as the simulator's own server.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	w := l.log.WriterLevel(debugLevel)
	defer w.Close()
	srv.ErrorLog = stdLogger(w)
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(ln, "", "") }()
	select {
	case err := <-done:
		return fmt.Errorf("serving %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	// Clients that wait for updates would wait for ever: short calls get a
	// moment, then all are cut off.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		_ = srv.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// callBook knows the simulator's context of each request in progress. The
// request's number travels in its session cookie, which is all of a request that
// the simulator lets one see.
type callBook struct {
	mu   sync.Mutex
	last uint64
	open map[string]*simulator.Context
}

const callMark = "\x7ccall="

// cookie is Registry.Cookie: it gives the session's id.
func (b *callBook) cookie(ctx *simulator.Context) string {
	id, call, ok := strings.Cut(simulator.HTTPCookie(ctx), callMark)
	if ok {
		b.mu.Lock()
		if _, known := b.open[call]; known {
			b.open[call] = ctx
		}
		b.mu.Unlock()
	}
	return id
}

func (b *callBook) begin() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		b.open = map[string]*simulator.Context{}
	}
	b.last++
	id := strconv.FormatUint(b.last, 10)
	b.open[id] = nil
	return id
}

func (b *callBook) end(id string) *simulator.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.open[id]
	delete(b.open, id)
	return c
}

// guarded serves SOAP so that a panic of the simulator's becomes a fault, and
// the lock it held is free again.
func (l *Lab) guarded(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		id := l.calls.begin()
		session := ""
		if c, err := r.Cookie(soap.SessionCookieName); err == nil {
			session = strings.Trim(c.Value, `"`)
			session, _, _ = strings.Cut(session, callMark)
		}
		r.Header.Del("Cookie")
		r.AddCookie(&http.Cookie{Name: soap.SessionCookieName, Value: session + callMark + id})
		defer func() {
			c := l.calls.end(id)
			p := recover()
			if p == nil {
				return
			}
			l.log.Errorf("panic in a call: %v\n%s", p, debug.Stack())
			if c != nil && c.Caller != nil {
				release(c, *c.Caller)
			}
			w.Header().Set("Content-Type", "text/xml; charset=utf-8")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprint(w, panicFault)
		}()
		next.ServeHTTP(w, r)
	}
}

// panicFault is SystemError in SOAP.
const panicFault = `<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<soapenv:Body><soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>the lab could not handle this call</faultstring>
<detail><SystemErrorFault xmlns="urn:vim25" xsi:type="SystemError"><reason>the lab could not handle this call; its log has the details</reason></SystemErrorFault></detail>
</soapenv:Fault></soapenv:Body></soapenv:Envelope>
`

// release frees the lock that a call held when it panicked. The lock counts: one
// more acquisition by the same context and two releases free it.
func release(c *simulator.Context, ref types.ManagedObjectReference) {
	ref.ServerGUID = ""
	defer func() { _ = recover() }() // it was not held
	free := c.Map.AcquireLock(c, ref)
	free()
	free()
}
