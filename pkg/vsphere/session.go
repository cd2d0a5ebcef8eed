package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// keepAlive is how often an idle session is used: well under the 30 minutes
// after which ESXi and vCenter drop it by default.
const keepAlive = 10 * time.Minute

// cleanupTimeout bounds what is done after the caller's context has ended:
// cancelling a task, logging out, removing what is half made.
const cleanupTimeout = 30 * time.Second

// Config of a session.
type Config struct {
	// URL of the server: "https://host[:port]/sdk", or only "host[:port]".
	// A user and password in it are used when User is empty, and never shown.
	URL string
	// User and Password to log in with.
	User, Password string
	// Thumbprint is the SHA-256 or SHA-1 of the server's certificate in hex,
	// colons optional. Set, the certificate must have it. Empty, it must verify
	// against the system's authorities.
	Thumbprint string
	// Insecure accepts any certificate when Thumbprint is empty, and plain http.
	Insecure bool
	// Log gets re-logins. Nil: a logger that writes nothing.
	Log *logrus.Entry
}

// Session is a logged-in connection to ESXi or vCenter. Any number of calls may
// use it at once.
type Session struct {
	vim      *vim25.Client
	target   *url.URL // without user info
	user     string
	password string
	log      *logrus.Entry

	stop chan struct{} // closed by Logout
	done chan struct{} // closed when the keep-alive goroutine has ended

	loginMu sync.Mutex // one login at a time; held across the login call
	mu      sync.Mutex // guards what follows
	logins  int
	closed  bool
	idle    []*property.Collector // of tasks, without filters
	wg      sync.WaitGroup        // of giving collectors back; none begins once closed
}

// ParseURL reads an SDK URL as a person writes it: without scheme it is https,
// without path it is /sdk. The user info is taken off and returned apart. An
// error never repeats s, which may hold a password.
func ParseURL(s string) (u *url.URL, user *url.Userinfo, err error) {
	if s == "" {
		return nil, nil, fmt.Errorf("vSphere address is empty: %w", errdefs.ErrInvalidArgument)
	}
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err = url.Parse(s)
	if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, nil, fmt.Errorf("vSphere address is not of the form https://host[:port]/sdk: %w", errdefs.ErrInvalidArgument)
	}
	user, u.User = u.User, nil
	if u.Path == "" || u.Path == "/" {
		u.Path = "/sdk"
	}
	return u, user, nil
}

// Dial connects and logs in. A certificate that does not verify is a
// *CertificateError with the thumbprint that was seen, a wrong user or password
// ErrUnauthenticated, a server that does not answer ErrUnavailable. The session
// is kept alive until Logout.
func Dial(ctx context.Context, cfg Config) (*Session, error) {
	u, info, err := ParseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	if cfg.User == "" && info != nil {
		cfg.User = info.Username()
		cfg.Password, _ = info.Password()
	}
	if u.Scheme == "http" && !cfg.Insecure {
		return nil, fmt.Errorf("%s: plain http sends the password in clear: %w", u, errdefs.ErrInvalidArgument)
	}
	if cfg.Thumbprint != "" && !validThumbprint(cfg.Thumbprint) {
		return nil, fmt.Errorf("thumbprint %q: want 20 (SHA-1) or 32 (SHA-256) hex bytes: %w", cfg.Thumbprint, errdefs.ErrInvalidArgument)
	}
	if cfg.Log == nil {
		cfg.Log = silent()
	}

	sc := soap.NewClient(u, cfg.Insecure && cfg.Thumbprint == "")
	pinTLS(sc, u, cfg.Thumbprint, cfg.Insecure)
	vim, err := vim25.NewClient(ctx, sc)
	if err != nil {
		return nil, Classify(fmt.Errorf("connect to %s: %w", u, err))
	}
	if err := vim.UseServiceVersion(); err != nil {
		sc.Version = vim.ServiceContent.About.ApiVersion
	}
	s := &Session{
		vim: vim, target: u, user: cfg.User, password: cfg.Password, log: cfg.Log,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.login(ctx); err != nil {
		sc.CloseIdleConnections()
		return nil, err
	}
	s.vim.RoundTripper = (*relogin)(s)
	go s.keepAlive()
	return s, nil
}

// Client is the govmomi client; what it returns are raw faults, see Classify.
func (s *Session) Client() *vim25.Client { return s.vim }

// URL is the server's SDK URL, without user info.
func (s *Session) URL() *url.URL {
	u := *s.target
	return &u
}

// IsVC tells vCenter from a single ESXi host.
func (s *Session) IsVC() bool { return s.vim.IsVC() }

// About describes the server.
func (s *Session) About() types.AboutInfo { return s.vim.ServiceContent.About }

// Logins counts logins since Dial. A change means that a session was lost, and
// with it every collector that it had.
func (s *Session) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// Logout ends the session and its keep-alive. Calls after it fail.
func (s *Session) Logout(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stop)
	<-s.done
	s.wg.Wait()
	_, err := methods.Logout(ctx, s.vim.Client, &types.Logout{This: *s.vim.ServiceContent.SessionManager})
	s.vim.Client.CloseIdleConnections()
	if err != nil && !errdefs.IsUnauthorized(Classify(err)) {
		return Classify(fmt.Errorf("log out of %s: %w", s.target, err))
	}
	return nil
}

func (s *Session) login(ctx context.Context) error {
	_, err := methods.Login(ctx, s.vim.Client, &types.Login{
		This:     *s.vim.ServiceContent.SessionManager,
		UserName: s.user,
		Password: s.password,
		Locale:   session.Locale,
	})
	if err != nil {
		return Classify(fmt.Errorf("log in to %s as %s: %w", s.target, s.user, err))
	}
	s.mu.Lock()
	s.logins++
	s.mu.Unlock()
	return nil
}

// again logs in unless somebody else has since the caller saw login number seen.
func (s *Session) again(ctx context.Context, seen int) error {
	s.loginMu.Lock()
	defer s.loginMu.Unlock()
	s.mu.Lock()
	closed, logins := s.closed, s.logins
	s.mu.Unlock()
	if closed {
		return fmt.Errorf("logged out of %s: %w", s.target, errdefs.ErrUnauthenticated)
	}
	if logins != seen {
		return nil
	}
	if err := s.login(ctx); err != nil {
		return err
	}
	s.log.WithField("server", s.target.Host).Info("vSphere session was lost, logged in again")
	return nil
}

// touch uses the session once, so that a lost one is renewed before a request
// that cannot be repeated.
func (s *Session) touch(ctx context.Context) error {
	req := types.RetrieveProperties{
		This: s.vim.ServiceContent.PropertyCollector,
		SpecSet: []types.PropertyFilterSpec{{
			ObjectSet: []types.ObjectSpec{{Obj: *s.vim.ServiceContent.SessionManager}},
			PropSet:   []types.PropertySpec{{Type: "SessionManager", PathSet: []string{"currentSession"}}},
		}},
	}
	_, err := methods.RetrieveProperties(ctx, s.vim, &req)
	return Classify(err)
}

func (s *Session) keepAlive() {
	defer close(s.done)
	t := time.NewTicker(keepAlive)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
		}
		// Not the caller's context: the session outlives any one call.
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		if err := s.touch(ctx); err != nil {
			s.log.WithError(err).Warn("vSphere session could not be kept alive")
		}
		cancel()
	}
}

// cleanup gives a context for undoing what ctx, which may have ended, began.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
}

func silent() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(discard{})
	return logrus.NewEntry(l)
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// ctxErr prefers the context's own error, so that callers recognise it.
func ctxErr(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return errors.Join(ctx.Err(), err)
}
