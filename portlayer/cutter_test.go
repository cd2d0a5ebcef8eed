package portlayer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// cutter is the way from an engine to vSphere, and ends it after some changes:
// that many arrive, the answer to the last is lost, and nothing passes any more,
// as if the VCH had been killed in between.
type cutter struct {
	*httptest.Server
	ctx  context.Context // ends with the cut
	end  context.CancelFunc
	pass http.Handler

	mu      sync.Mutex // guards what follows
	left    int        // changes that may pass; negative: any number
	changes []string   // that arrived since arm
}

func newCutter(t *testing.T, target *url.URL) *cutter {
	c := &cutter{left: -1}
	c.ctx, c.end = context.WithCancel(context.Background())
	to := *target
	to.Path = ""
	proxy := httputil.NewSingleHostReverseProxy(&to)
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the lab is this process
	proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	quiet := stdlog.New(io.Discard, "", 0)
	proxy.ErrorLog = quiet
	c.pass = proxy
	c.Server = httptest.NewUnstartedServer(c)
	c.Config.ErrorLog = quiet
	c.StartTLS()
	t.Cleanup(func() { c.end(); c.Close() })
	return c
}

func (c *cutter) thumbprint() string {
	sum := sha256.Sum256(c.Certificate().Raw)
	return hex.EncodeToString(sum[:])
}

// arm lets n changes pass.
func (c *cutter) arm(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.changes = n, nil
}

func (c *cutter) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.changes)
}

// method is that of a SOAP request.
var method = regexp.MustCompile(`Body[^>]*>\s*<(?:\w+:)?(\w+)`)

// change names what a request changes, if it does.
func change(r *http.Request, body []byte) string {
	if r.Method == http.MethodPut || r.Method == http.MethodDelete {
		return r.Method
	}
	m := method.FindSubmatch(body)
	if m == nil {
		return ""
	}
	name := string(m[1])
	if strings.HasSuffix(name, "_Task") && !strings.HasPrefix(name, "Search") || name == "MakeDirectory" || name == "ShutdownGuest" {
		return name
	}
	return ""
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil || c.ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	what, last := change(r, body), false
	if what != "" {
		c.mu.Lock()
		if c.left == 0 {
			c.end()
		} else {
			c.changes = append(c.changes, what)
		}
		c.left--
		last = c.left == 0
		c.mu.Unlock()
	}
	if c.ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
	if !last {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(c.ctx, cancel)()
		c.pass.ServeHTTP(w, r.WithContext(ctx))
		return
	}
	c.pass.ServeHTTP(httptest.NewRecorder(), r)
	c.end()
	panic(http.ErrAbortHandler)
}

// bootBehind runs an engine whose way to vSphere can be cut. kill ends it
// without a word, wherever it is.
func (s *site) bootBehind(c *cutter) (p *PortLayer, kill func()) {
	s.t.Helper()
	direct := s.cfg.VCH
	s.cfg.VCH.Target, s.cfg.VCH.Thumbprint = c.URL+"/sdk", c.thumbprint()
	defer func() { s.cfg.VCH = direct }()
	p, stop := s.bootAny()
	return p, func() { c.end(); _ = stop() }
}
