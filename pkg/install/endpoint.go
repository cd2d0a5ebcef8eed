package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/install/certs"
)

// Ports of a VCH (state.md, section 4).
const (
	portTLS   = "2376"
	portPlain = "2375"
	portAdmin = "2378"
)

// Endpoint is how the Docker endpoint is secured and how clients get in.
type Endpoint struct {
	Off    bool
	Server certs.Pair
	// ClientCAs is set when clients must show a certificate; Client is one that
	// they may show, when it was made here.
	ClientCAs []byte
	Client    certs.Pair
	// Name is what the server's certificate says and clients should dial, empty
	// when there is no such name.
	Name string
	// CertFile is the server's certificate as the user sees it; only set when it
	// is on this computer and clients need no certificate.
	CertFile string
	// Dir is where a mutual endpoint's files are, as the user sees it.
	Dir string

	log   []string
	write []outFile
	vch   string
}

type outFile struct {
	path string
	data []byte
	mode fs.FileMode
}

// endpoint makes or loads what o asks for. It reads files below dir (the
// working directory) and writes none: see save.
func (o TLSOptions) endpoint(name, dir string, own certs.Pair, now time.Time) (Endpoint, error) {
	e := Endpoint{vch: name}
	switch {
	case o.Off:
		e.Off = true
		e.log = []string{"Configuring without TLS - all communications will be insecure"}
		return e, nil
	case o.ServerCert != "":
		e.Server, e.CertFile = own, o.ServerCert
		e.log = []string{"Loaded server certificate " + o.ServerCert}
		return e, nil
	case o.CName != "":
		return e, e.mutual(o.CName, dir, now)
	}
	return e, e.selfSigned(dir, now)
}

// selfSigned is the default: ./NAME-key.pem and ./NAME-cert.pem. A pair that
// is there from before is used again.
func (e *Endpoint) selfSigned(dir string, now time.Time) error {
	key, cert := e.vch+"-key.pem", e.vch+"-cert.pem"
	e.CertFile = "./" + cert
	old, found, err := load(dir, cert, key, now)
	if err != nil {
		return err
	}
	if found {
		e.Server = old
		e.log = []string{"Loaded server certificate ./" + cert}
		return nil
	}
	if e.Server, err = certs.SelfSigned(e.vch, []string{e.vch}, now); err != nil {
		return err
	}
	e.log = []string{"Generating certificate/key pair - private key in ./" + key}
	e.write = []outFile{{filepath.Join(dir, key), e.Server.Key, 0o600}, {filepath.Join(dir, cert), e.Server.Cert, 0o644}}
	return nil
}

// mutual makes a CA, a server's and a client's certificate in ./NAME/.
func (e *Endpoint) mutual(cname, dir string, now time.Time) error {
	e.Dir, e.Name = "./"+e.vch, cname
	if strings.HasPrefix(cname, "*") {
		e.Name = ""
	}
	sub := filepath.Join(dir, e.vch)
	add := func(file string, data []byte, mode fs.FileMode) {
		e.write = append(e.write, outFile{filepath.Join(sub, file), data, mode})
	}
	said := func(what, key string) {
		e.log = append(e.log, fmt.Sprintf("Generating %s certificate/key pair - private key in %s/%s", what, e.Dir, key))
	}
	pair, found, err := load(sub, "ca.pem", "ca-key.pem", now)
	if err != nil {
		return err
	}
	var ca *certs.Authority
	if found {
		if ca, err = pair.Authority(now); err != nil {
			return fmt.Errorf("%s/ca.pem: %w", e.Dir, err)
		}
		e.log = append(e.log, "Loaded CA "+e.Dir+"/ca.pem")
	} else {
		if ca, err = certs.NewAuthority(e.vch+" CA", now); err != nil {
			return err
		}
		said("CA", "ca-key.pem")
		add("ca-key.pem", ca.Key, 0o600)
		add("ca.pem", ca.Cert, 0o644)
	}
	e.ClientCAs = ca.Cert
	if e.Server, err = ca.Server(cname, []string{cname}, now); err != nil {
		return err
	}
	said("server", "server-key.pem")
	add("server-key.pem", e.Server.Key, 0o600)
	add("server-cert.pem", e.Server.Cert, 0o644)
	if e.Client, err = ca.Client(e.vch+" client", now); err != nil {
		return err
	}
	said("client", "key.pem")
	add("key.pem", e.Client.Key, 0o600)
	add("cert.pem", e.Client.Cert, 0o644)
	return nil
}

// load reads a pair that may be there from an earlier create. Half a pair, or
// one that does not fit or has expired, is the user's to clear up: a key that
// another VCH uses must not be overwritten.
func load(dir, cert, key string, now time.Time) (certs.Pair, bool, error) {
	c, cerr := os.ReadFile(filepath.Join(dir, cert))
	k, kerr := os.ReadFile(filepath.Join(dir, key))
	if errors.Is(cerr, fs.ErrNotExist) && errors.Is(kerr, fs.ErrNotExist) {
		return certs.Pair{}, false, nil
	}
	p := certs.Pair{Cert: c, Key: k}
	err := errors.Join(cerr, kerr)
	if err == nil {
		err = p.Check(now)
	}
	if err != nil {
		return p, false, issuef("", "the certificate %s and key %s from before cannot be used (%s): move both away, or give others with --tls-server-cert and --tls-server-key",
			filepath.Join(dir, cert), filepath.Join(dir, key), Plain(err))
	}
	return p, true, nil
}

// save writes the files. What it replaces is put back by undo.
func (e Endpoint) save(u *undoStack) error {
	for _, f := range e.write {
		sub := filepath.Dir(f.path)
		if _, err := os.Stat(sub); errors.Is(err, fs.ErrNotExist) {
			if err := os.MkdirAll(sub, 0o700); err != nil {
				return fmt.Errorf("make folder for certificates: %w", err)
			}
			u.push(sub, removeFile(sub))
		}
		old, err := os.ReadFile(f.path)
		if err == nil {
			u.push(f.path, restoreFile(f.path, old, f.mode))
		} else {
			u.push(f.path, removeFile(f.path))
		}
		if err := os.WriteFile(f.path, f.data, f.mode); err != nil {
			return fmt.Errorf("write certificate or key: %w", err)
		}
	}
	return nil
}

func (e Endpoint) port() string {
	if e.Off {
		return portPlain
	}
	return portTLS
}

// host is what Docker clients dial: the certificate's name if it has one,
// because they compare it, else the address.
func (e Endpoint) host(address string) string {
	if e.Name != "" {
		address = e.Name
	}
	return net.JoinHostPort(address, e.port())
}

func (e Endpoint) adminURL(address string) string {
	scheme := "https://"
	if e.Off {
		scheme = "http://"
	}
	return scheme + net.JoinHostPort(address, portAdmin)
}

// environment are the lines that a shell takes.
func (e Endpoint) environment(address string) []string {
	lines := []string{"DOCKER_HOST=" + e.host(address)}
	if e.ClientCAs != nil {
		lines = append(lines, "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH="+e.Dir)
	}
	return lines
}

// hint says how the docker client's --tls works here: since 19.03 it fails when
// its default CA file is missing, though --tls verifies nothing
// (cli/context/docker, WithTLSData). ca is that file.
func (e Endpoint) hint(ca string) string {
	if e.Off || e.CertFile == "" || ca == "" {
		return ""
	}
	if _, err := os.Stat(ca); err == nil {
		return ""
	}
	return fmt.Sprintf("There is no %s, without which newer docker clients refuse --tls: add --tlscacert=%q", ca, e.CertFile)
}

// command is docker with the options that reach this VCH.
func (e Endpoint) command(address string) string {
	s := "docker -H " + e.host(address)
	switch {
	case e.Off:
		return s
	case e.ClientCAs != nil:
		return fmt.Sprintf("%s --tlsverify --tlscacert=%q --tlscert=%q --tlskey=%q", s, e.Dir+"/ca.pem", e.Dir+"/cert.pem", e.Dir+"/key.pem")
	}
	return s + " --tls"
}

func removeFile(path string) func(context.Context) error {
	return func(context.Context) error {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
}

func restoreFile(path string, data []byte, mode fs.FileMode) func(context.Context) error {
	return func(context.Context) error { return os.WriteFile(path, data, mode) }
}
