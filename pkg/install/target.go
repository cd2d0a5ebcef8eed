package install

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"
)

// Target is the ESXi host or vCenter to work on, and who asks.
type Target struct {
	// Host is host or host:port; the port is 443 when it is left out.
	Host string
	// Datacenter is what followed the host in --target; empty means the only one.
	Datacenter string
	User       string
	Password   string
	// PasswordSet tells an empty password from one that was not given.
	PasswordSet bool
	// Thumbprint is that of the server's certificate, SHA-1 or SHA-256 in
	// hexadecimal with colons. Empty: the certificate must verify.
	Thumbprint string
}

// ParseTarget reads [https://][user[:password]@]host[:port][/datacenter].
// user and password, when not empty, win over those of the target. No error
// carries a password.
func ParseTarget(s, user, password string) (Target, error) {
	if s == "" {
		return Target{}, fmt.Errorf("--target is missing: give the ESXi host or vCenter, like --target root@esxi01.example.com: %w", errdefs.ErrInvalidArgument)
	}
	scheme, rest := cutScheme(s)
	if scheme != "" && !strings.EqualFold(scheme, "https") {
		return Target{}, fmt.Errorf("--target %s: only https is spoken: %w", Redact(s), errdefs.ErrInvalidArgument)
	}
	var t Target
	// The last @ ends the credentials: passwords may hold one, hosts may not.
	// A datacenter's name may hold @ too, but then a / comes before it.
	if i := credentialsEnd(rest); i >= 0 {
		u, p, hasPassword := strings.Cut(rest[:i], ":")
		t.User, t.Password, t.PasswordSet = unescape(u), unescape(p), hasPassword
		rest = rest[i+1:]
	}
	t.Host, t.Datacenter, _ = strings.Cut(rest, "/")
	t.Datacenter = strings.Trim(t.Datacenter, "/")
	if t.Datacenter == "sdk" { // as govc's GOVC_URL has it
		t.Datacenter = ""
	}
	if u, err := url.Parse("https://" + t.Host); err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || strings.HasSuffix(t.Host, ":") {
		return Target{}, fmt.Errorf("--target %s: that is no host or host:port: %w", Redact(s), errdefs.ErrInvalidArgument)
	}
	if user != "" {
		t.User = user
	}
	if password != "" {
		t.Password, t.PasswordSet = password, true
	}
	if t.User == "" {
		return Target{}, fmt.Errorf("no user for %s: give --user, or --target user@%s: %w", t.Host, t.Host, errdefs.ErrInvalidArgument)
	}
	return t, nil
}

// credentialsEnd is the index of the @ before the host, or -1. Until the last
// @ everything is credentials, unless what would be the host before an earlier
// slash already has its own @ (root@host/dc@x).
func credentialsEnd(s string) int {
	if slash := strings.IndexByte(s, '/'); slash >= 0 {
		if i := strings.LastIndexByte(s[:slash], '@'); i >= 0 && !strings.Contains(s[slash:], "@") {
			return i
		}
		if i := strings.LastIndexByte(s, '@'); i > slash {
			if j := strings.LastIndexByte(s[:slash], '@'); j >= 0 && !strings.Contains(s[:j], ":") {
				return j
			}
			return i
		}
	}
	return strings.LastIndexByte(s, '@')
}

// unescape undoes URL escapes when they are valid, else keeps the text: people
// type passwords with % in them.
func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

// cutScheme takes a scheme like https:// off. What is no word before :// is not
// a scheme, but maybe part of a password.
func cutScheme(s string) (scheme, rest string) {
	word, rest, ok := strings.Cut(s, "://")
	if !ok || word == "" || strings.Trim(strings.ToLower(word), "abcdefghijklmnopqrstuvwxyz") != "" {
		return "", s
	}
	return word, rest
}

// Redact takes credentials out of a target, for use in messages, and what may
// be some: user:password without a host looks like host:port with a bad port.
func Redact(s string) string {
	scheme, rest := cutScheme(s)
	if scheme != "" {
		scheme += "://"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	host, _, _ := strings.Cut(rest, "/")
	i := strings.LastIndexByte(host, ':')
	if i >= 0 && strings.Trim(host[i+1:], "0123456789]") != "" {
		rest = host[:strings.IndexByte(host, ':')] + ":…"
	}
	return scheme + rest
}

// URL is the SDK's address without credentials.
func (t Target) URL() *url.URL {
	return &url.URL{Scheme: "https", Host: t.Host, Path: "/sdk"}
}

// Address is host:port to dial.
func (t Target) Address() string {
	u := t.URL()
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Loopback tells whether the target is this very computer, which is not where
// the appliance would find it.
func (t Target) Loopback() bool {
	host := t.URL().Hostname()
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
