package image

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/sirupsen/logrus"
)

// ClientConfig of a Client. The zero value reaches public registries.
type ClientConfig struct {
	// Mirrors are URLs ("http://host:5000") that stand in for Docker Hub, tried
	// in order before it. A mirror named with http:// is spoken to in clear.
	Mirrors []string
	// Insecure are registries, as host, host:port or CIDR, that may use plain
	// HTTP or a certificate that does not verify. Loopback always may.
	Insecure []string
	// CAs is PEM of certificate authorities trusted besides the system's.
	CAs string
	// UserAgent is sent to registries; empty is "vic".
	UserAgent string
	// Attempts is how often a blob is asked for without getting on; 0 is 5.
	Attempts int
	// Backoff is the pause before attempt n (from 1); nil is 0.5 s doubled each time.
	Backoff func(n int) time.Duration
	// Stall is how long a registry may send nothing before the connection is
	// given up; 0 is one minute.
	Stall time.Duration
	// Parallel is how many layers of an image are fetched at once; 0 is 3.
	Parallel int
	// Uploads is how many layers of an image are sent at once; 0 is 5.
	Uploads int
	// Dial opens connections; nil is the network's own way.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	Log  *logrus.Entry
}

// Client fetches images. It is safe for concurrent use.
type Client struct {
	cfg      ClientConfig
	mirrors  []*url.URL
	nets     []netip.Prefix
	hosts    map[string]bool
	secure   *http.Transport
	insecure *http.Transport
}

// NewClient checks the configuration and makes a Client. All problems are joined.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Log == nil {
		return nil, errors.New("image client: no log")
	}
	if cfg.Attempts == 0 {
		cfg.Attempts = 5
	}
	if cfg.Backoff == nil {
		cfg.Backoff = func(n int) time.Duration { return time.Second << min(n, 6) / 4 }
	}
	if cfg.Stall == 0 {
		cfg.Stall = time.Minute
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 3
	}
	if cfg.Uploads == 0 {
		cfg.Uploads = 5
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "vic"
	}
	c := &Client{cfg: cfg, hosts: map[string]bool{}}
	var errs []error
	for _, m := range cfg.Mirrors {
		u, err := url.Parse(m)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			errs = append(errs, fmt.Errorf("registry mirror %q: want http://host:port or https://host:port: %w", m, errdefs.ErrInvalidArgument))
			continue
		}
		c.mirrors = append(c.mirrors, u)
	}
	for _, s := range cfg.Insecure {
		if p, err := netip.ParsePrefix(s); err == nil {
			c.nets = append(c.nets, p.Masked())
			continue
		}
		host := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(s, "http://"), "https://"), "/")
		if u, err := url.Parse("//" + host); err != nil || u.Host != host || host == "" {
			errs = append(errs, fmt.Errorf("insecure registry %q: want a host, host:port or CIDR: %w", s, errdefs.ErrInvalidArgument))
			continue
		}
		c.hosts[strings.ToLower(host)] = true
	}
	roots, err := pool(cfg.CAs)
	errs = append(errs, err)
	c.secure = newTransport(cfg, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots})
	c.insecure = newTransport(cfg, &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	return c, errors.Join(errs...)
}

// Close drops idle connections.
func (c *Client) Close() {
	c.secure.CloseIdleConnections()
	c.insecure.CloseIdleConnections()
}

func pool(pem string) (*x509.CertPool, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		// No system store: the given ones are all there is.
		roots = x509.NewCertPool()
	}
	if strings.TrimSpace(pem) != "" && !roots.AppendCertsFromPEM([]byte(pem)) {
		return nil, fmt.Errorf("registry CAs: no certificate in the PEM: %w", errdefs.ErrInvalidArgument)
	}
	return roots, nil
}

func newTransport(cfg ClientConfig, conf *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           cfg.Dial,
		TLSClientConfig:       conf,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       30 * time.Second,
		ForceAttemptHTTP2:     true,
		// A blob's bytes are what its digest is of.
		DisableCompression: true,
	}
}

// Auth is what a registry is shown. The zero value is nobody.
type Auth struct {
	Username, Password string
	// Token is an identity (refresh) token, given instead of a password.
	Token string
	// RegistryToken is shown to the registry as it is.
	RegistryToken string
}

func (a Auth) authenticator() authn.Authenticator {
	if a == (Auth{}) {
		return authn.Anonymous
	}
	if a.RegistryToken != "" {
		return authn.FromConfig(authn.AuthConfig{RegistryToken: a.RegistryToken})
	}
	if a.Token != "" {
		return authn.FromConfig(authn.AuthConfig{IdentityToken: a.Token})
	}
	return authn.FromConfig(authn.AuthConfig{Username: a.Username, Password: a.Password})
}

// endpoint is one place where an image may be.
type endpoint struct {
	host     string // host[:port], for people
	repo     string // path in the registry
	registry name.Registry
	base     http.RoundTripper
	auth     authn.Authenticator
	authed   bool
	mirror   bool
	push     bool         // the token is for pushing too
	from     []string     // repositories that the token is to read as well
	client   *http.Client // after connect
}

// endpoints lists where ref may be, in the order to try.
func (c *Client) endpoints(ctx context.Context, ref reference.Named, auth Auth) ([]*endpoint, error) {
	host := reference.Domain(ref)
	var out []*endpoint
	if host == dockerHub {
		for _, m := range c.mirrors {
			e, err := c.endpoint(m.Host, reference.Path(ref), m.Scheme == "http" || c.isInsecure(ctx, m.Host), Auth{})
			if err != nil {
				return nil, err
			}
			e.mirror = true
			out = append(out, e)
		}
		host = hubHost
	}
	e, err := c.endpoint(host, reference.Path(ref), c.isInsecure(ctx, host), auth)
	if err != nil {
		return nil, err
	}
	return append(out, e), nil
}

func (c *Client) endpoint(host, repo string, insecure bool, auth Auth) (*endpoint, error) {
	var opts []name.Option
	base := http.RoundTripper(httpsOnly{c.secure, host})
	if insecure {
		opts = append(opts, name.Insecure)
		base = c.insecure
	}
	reg, err := name.NewRegistry(host, opts...)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w: %w", host, err, errdefs.ErrInvalidArgument)
	}
	return &endpoint{
		host: host, repo: repo, registry: reg, auth: auth.authenticator(), authed: auth != Auth{},
		base: transport.NewUserAgent(base, c.cfg.UserAgent),
	}, nil
}

// connect does the registry's handshake: whether it is there, speaks HTTPS,
// and what token it wants. It happens once per endpoint.
func (e *endpoint) connect(ctx context.Context) error {
	if e.client != nil {
		return nil
	}
	scopes := []string{"repository:" + e.repo + ":pull"}
	if e.push {
		scopes[0] += ",push"
	}
	for _, repo := range e.from {
		scopes = append(scopes, "repository:"+repo+":pull")
	}
	rt, err := transport.NewWithContext(ctx, e.registry, e.auth, e.base, scopes)
	if err != nil {
		return err
	}
	e.client = &http.Client{Transport: rt}
	return nil
}

// url addresses something below the registry's API; the transport changes the
// scheme when connect found out that it must.
func (e *endpoint) url(path string) *url.URL {
	return &url.URL{Scheme: "https", Host: e.registry.RegistryStr(), Path: "/v2/" + path}
}

// isInsecure tells whether a registry may be without verified TLS.
func (c *Client) isInsecure(ctx context.Context, host string) bool {
	h := strings.ToLower(host)
	bare := (&url.URL{Host: h}).Hostname()
	if c.hosts[h] || c.hosts[bare] {
		return true
	}
	addrs := []string{bare}
	if _, err := netip.ParseAddr(bare); err != nil {
		if bare == "localhost" {
			return true
		}
		if len(c.nets) == 0 {
			return false
		}
		// A name that does not resolve is found out when it is dialled.
		addrs, _ = net.DefaultResolver.LookupHost(ctx, bare)
	}
	for _, s := range addrs {
		a, err := netip.ParseAddr(s)
		if err != nil {
			continue
		}
		a = a.Unmap()
		// A name is not trusted for pointing at loopback, an address is.
		if a.IsLoopback() && s == bare {
			return true
		}
		for _, n := range c.nets {
			if n.Contains(a) {
				return true
			}
		}
	}
	return false
}

// httpsOnly refuses plain HTTP, to a registry that is not listed as insecure
// and to wherever it redirects.
type httpsOnly struct {
	rt   http.RoundTripper
	host string
}

func (h httpsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, &classified{errdefs.ErrFailedPrecondition, fmt.Sprintf("%s: plain HTTP is only used for insecure registries, and %s is not listed as one", r.URL.Host, h.host), nil}
	}
	return h.rt.RoundTrip(r)
}
