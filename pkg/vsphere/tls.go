package vsphere

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/soap"
)

// CertificateError tells that the server's certificate was not accepted, and
// what it is, so that a person can compare and give it as the thumbprint.
type CertificateError struct {
	Host string
	// Thumbprint is the SHA-256 of the certificate that was seen, SHA1 the
	// shorter one: upper case hex with colons.
	Thumbprint, SHA1 string
	// Want is the pinned thumbprint that it does not have, or empty.
	Want string
	// Reason is why it did not verify when nothing was pinned.
	Reason error
}

func (e *CertificateError) Error() string {
	if e.Want != "" {
		return fmt.Sprintf("%s presents a certificate with thumbprint %s, not %s", e.Host, e.Thumbprint, strings.ToUpper(e.Want))
	}
	return fmt.Sprintf("certificate of %s is not trusted (%v); its thumbprint is %s", e.Host, e.Reason, e.Thumbprint)
}

// Unwrap makes it ErrPermissionDenied: asking again does not help, a person
// has to decide.
func (e *CertificateError) Unwrap() []error {
	return append([]error{errdefs.ErrPermissionDenied}, nonNil(e.Reason)...)
}

func nonNil(err error) []error {
	if err == nil {
		return nil
	}
	return []error{err}
}

// idleConns is how many connections are kept for the next call. net/http keeps two;
// calls that go side by side, as those of the events, of a change and of what it
// causes do, would make and drop one all the time, each a handshake.
const idleConns = 8

// pinTLS makes the client verify certificates as Config says. Hosts other than
// the target (an ESXi host that a transfer is sent to) are held to the
// thumbprint that the server named for them, if any.
func pinTLS(sc *soap.Client, target *url.URL, thumbprint string, insecure bool) {
	targetAddr := hostPort(target)
	verifier := func(addr string) func(tls.ConnectionState) error {
		return func(cs tls.ConnectionState) error {
			want := thumbprint
			if addr != targetAddr {
				want = sc.Thumbprint(addr)
			}
			if want == "" && insecure {
				return nil
			}
			return verify(addr, want, cs)
		}
	}
	config := func(addr string) *tls.Config {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			host = addr
		}
		return &tls.Config{
			MinVersion:         tls.VersionTLS12,
			ServerName:         host,
			InsecureSkipVerify: true, // VerifyConnection decides
			VerifyConnection:   verifier(addr),
		}
	}
	t := sc.DefaultTransport()
	t.MaxIdleConnsPerHost = idleConns
	t.TLSClientConfig = config(targetAddr) // when an HTTP proxy is in between
	t.TLSClientConfig.ServerName = ""
	// A server that went without a goodbye is found out in about 8 s: the events
	// that show an administrator's changes come over a request that waits.
	d := &net.Dialer{Timeout: 30 * time.Second, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 3,
	}}
	t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		td := tls.Dialer{NetDialer: d, Config: config(addr)}
		return td.DialContext(ctx, network, addr)
	}
	sc.Client.Transport = wholeAnswers{t}
}

// restOfAnswer bounds what is read of an answer behind the end of its document.
const restOfAnswer = 4 << 10

// wholeAnswers reads answers of the API to their end. Who decodes one stops at the
// end of the document, behind which a chunked body has an empty chunk still, and
// net/http closes a connection whose answer was not read to the end.
type wholeAnswers struct{ *http.Transport }

func (w wholeAnswers) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := w.Transport.RoundTrip(req)
	if err == nil && strings.HasPrefix(res.Header.Get("Content-Type"), "text/xml") {
		res.Body = wholeBody{res.Body}
	}
	return res, err
}

type wholeBody struct{ io.ReadCloser }

func (b wholeBody) Close() error {
	_, _ = io.CopyN(io.Discard, b.ReadCloser, restOfAnswer)
	return b.ReadCloser.Close()
}

func verify(addr, want string, cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("server presents no certificate")
	}
	leaf := cs.PeerCertificates[0]
	seen := &CertificateError{Host: addr, Thumbprint: soap.ThumbprintSHA256(leaf), SHA1: soap.ThumbprintSHA1(leaf), Want: want}
	if want != "" {
		w := plainHex(want)
		if w == plainHex(seen.Thumbprint) || w == plainHex(seen.SHA1) {
			return nil
		}
		return seen
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	pool := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		pool.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: host, Intermediates: pool})
	if err == nil {
		return nil
	}
	seen.Reason = err
	return seen
}

func validThumbprint(s string) bool {
	b, err := hex.DecodeString(plainHex(s))
	return err == nil && (len(b) == 20 || len(b) == 32)
}

func plainHex(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, ":", ""))
}

func hostPort(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), "443")
}
