package nfs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Scheme begins the URL of a share.
const Scheme = "nfs://"

// Share is a folder that an NFS server exports.
type Share struct {
	Host string // name or address
	Path string // of the export, absolute and clean
	// UID and GID are as whom folders are made.
	UID, GID uint32
	// Port of the NFS service and MountPort of the mount service; 0: what the
	// server's port mapper says.
	Port, MountPort int
}

// IsShare tells whether text is meant to name a share.
func IsShare(text string) bool {
	return len(text) >= len(Scheme) && strings.EqualFold(text[:len(Scheme)], Scheme)
}

// Parse reads "nfs://host[:port]/path[?uid=&gid=&port=&mountport=&proto=tcp]". Without a
// mountport, it is the port, if that is given. All problems are told at once
// (ErrInvalidArgument).
func Parse(text string) (Share, error) {
	var s Share
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	u, err := url.Parse(text)
	if err != nil || !strings.EqualFold(u.Scheme, "nfs") {
		return s, fmt.Errorf("%q: want nfs://host/path?uid=&gid=&port=: %w", text, errdefs.ErrInvalidArgument)
	}
	if s.Host = u.Hostname(); s.Host == "" || strings.ContainsAny(s.Host, ",%/\\ \t\n") {
		bad("there is no host")
	}
	if s.Path = path.Clean(u.Path); !path.IsAbs(s.Path) || strings.ContainsAny(s.Path, "\x00\n[],") {
		bad("the path %q of the share cannot be used", u.Path)
	}
	if u.User != nil || u.Fragment != "" {
		bad("NFS has neither users nor fragments in its URL")
	}
	if p := u.Port(); p != "" {
		if s.Port, err = parsePort(p); err != nil {
			bad("port %q: %w", p, err)
		}
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		bad("the options cannot be read: %w", err)
	}
	for name, values := range options {
		value := values[len(values)-1]
		var err error
		switch name {
		case "uid":
			s.UID, err = parseID(value)
		case "gid":
			s.GID, err = parseID(value)
		case "port":
			s.Port, err = parsePort(value)
		case "mountport":
			s.MountPort, err = parsePort(value)
		case "proto":
			if value != "tcp" {
				err = errors.New("only tcp is supported")
			}
		default:
			err = errors.New("there are uid, gid, port, mountport, proto")
		}
		if err != nil {
			bad("option %s=%s: %w", name, value, err)
		}
	}
	if s.MountPort == 0 {
		s.MountPort = s.Port
	}
	if len(errs) > 0 {
		return Share{}, fmt.Errorf("%q: %w: %w", text, errors.Join(errs...), errdefs.ErrInvalidArgument)
	}
	return s, nil
}

func parseID(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, errors.New("it is not a number of a user or group")
	}
	return uint32(n), nil
}

func parsePort(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, errors.New("it is not a port")
	}
	return int(n), nil
}

// String is the share's URL, in one form only.
func (s Share) String() string {
	host := s.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	out := (&url.URL{Scheme: "nfs", Host: host, Path: s.Path}).String()
	sep := "?"
	add := func(name string, n int64) {
		if n != 0 {
			out += fmt.Sprintf("%s%s=%d", sep, name, n)
			sep = "&"
		}
	}
	add("uid", int64(s.UID))
	add("gid", int64(s.GID))
	add("port", int64(s.Port))
	if s.MountPort != s.Port {
		add("mountport", int64(s.MountPort))
	}
	return out
}

// Place is the share without its options: who has the same has the same folder.
func (s Share) Place() string { return Scheme + s.Host + s.Path }

// Source is how mount(2) names a folder of the share: "host:/export/folder".
func (s Share) Source(folder string) string {
	host := s.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + path.Join(s.Path, folder)
}

// SplitSource takes apart what Source gives.
func SplitSource(source string) (host, dir string, err error) {
	rest, v6 := strings.CutPrefix(source, "[")
	sep := ":/"
	if v6 {
		sep = "]:/"
	}
	host, dir, ok := strings.Cut(rest, sep)
	if !ok || host == "" {
		return "", "", fmt.Errorf("NFS source %q: want host:/path: %w", source, errdefs.ErrInvalidArgument)
	}
	return host, "/" + dir, nil
}

// Options are what a guest must know of the share besides Source, in the words
// of mount(8): "port=2049,mountport=20048", or empty.
func (s Share) Options() string {
	var out []string
	if s.Port != 0 {
		out = append(out, fmt.Sprintf("port=%d", s.Port))
	}
	if s.MountPort != 0 {
		out = append(out, fmt.Sprintf("mountport=%d", s.MountPort))
	}
	return strings.Join(out, ",")
}

// OptionPort is the port of the NFS service in Options, or 0.
func OptionPort(options string) int {
	for _, o := range strings.Split(options, ",") {
		if v, ok := strings.CutPrefix(o, "port="); ok {
			n, err := parsePort(v)
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// MountData is what mount(2) takes for a folder on the server at addr. A request
// that the server does not answer is repeated for ever (hard): an application
// never takes a server's pause for a failed disk. Each machine locks for itself (nolock): a lock
// service would have to reach back into the container. That a file is not there is
// not remembered (lookupcache), so that one container finds at once what another makes.
func MountData(addr netip.Addr, options string) string {
	proto := "tcp"
	if addr.Is6() && !addr.Is4In6() {
		proto = "tcp6"
	}
	data := fmt.Sprintf("vers=3,mountvers=3,proto=%s,mountproto=%s,nolock,lookupcache=positive,hard,timeo=600,retrans=2,rsize=131072,wsize=131072,sec=sys,addr=%s,mountaddr=%s",
		proto, proto, addr.Unmap(), addr.Unmap())
	if options != "" {
		data += "," + options
	}
	return data
}

// hostPort joins the share's host with a port.
func (s Share) hostPort(port int) string { return net.JoinHostPort(s.Host, strconv.Itoa(port)) }
