package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

const hostName = "esxi01.lab.test"

// identity reads or makes what the lab is known by: password, certificate.
func (l *Lab) identity() error {
	if err := l.mode(); err != nil {
		return err
	}
	if err := l.password(); err != nil {
		return err
	}
	cert, err := l.certificate()
	if err != nil {
		return err
	}
	l.cert = cert
	sum := sha256.Sum256(cert.Certificate[0])
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	l.print = strings.Join(parts, ":")
	return nil
}

// mode refuses to open one mode's state in the other.
func (l *Lab) mode() error {
	file := filepath.Join(l.cfg.StateDir, "mode")
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return writeFile(file, []byte(l.cfg.Mode))
	}
	if err == nil && Mode(b) != l.cfg.Mode {
		err = fmt.Errorf("%s is the state of a lab in mode %s: use that mode, or another directory: %w", l.cfg.StateDir, b, errdefs.ErrConflict)
	}
	return err
}

func (l *Lab) password() error {
	file := filepath.Join(l.cfg.StateDir, "password")
	if l.cfg.Password == "" {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		l.cfg.Password = strings.TrimSpace(string(b))
	}
	if l.cfg.Password == "" {
		var b [15]byte
		_, _ = rand.Read(b[:]) // never fails
		l.cfg.Password = strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
	}
	return writeFile(file, []byte(l.cfg.Password+"\n"))
}

// certificate is signed by a CA of the lab's own, both kept, so that the
// thumbprint stays the same.
func (l *Lab) certificate() (tls.Certificate, error) {
	crt, key := filepath.Join(l.cfg.StateDir, "server.pem"), filepath.Join(l.cfg.StateDir, "server.key")
	c, err := tls.LoadX509KeyPair(crt, key)
	if err == nil || !errors.Is(err, os.ErrNotExist) {
		return c, err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "vic lab CA", Organization: []string{"vic lab"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	srvKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	srv := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano() + 1), Subject: pkix.Name{CommonName: hostName, Organization: []string{"vic lab"}},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{hostName, "vcenter.lab.test", "localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IP(l.cfg.ManagementIP.AsSlice())},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return c, err
	}
	srvDER, err := x509.CreateCertificate(rand.Reader, srv, ca, srvKey.Public(), caKey)
	if err != nil {
		return c, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(srvKey)
	if err != nil {
		return c, err
	}
	caPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	srvPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srvDER})
	// The CA's key is not kept: nothing else is to be signed with it.
	err = errors.Join(
		writeFile(filepath.Join(l.cfg.StateDir, "ca.pem"), caPEM),
		writeFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})),
		writeFile(crt, append(srvPEM, caPEM...)))
	if err != nil {
		return c, err
	}
	return tls.LoadX509KeyPair(crt, key)
}

// writeFile writes a file that only we may read, atomically.
func writeFile(name string, b []byte) error {
	tmp := name + "~"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ModeOf is the mode of the lab that a state directory belongs to; ModeESXi for
// a new one.
func ModeOf(stateDir string) Mode {
	b, err := os.ReadFile(filepath.Join(stateDir, "mode"))
	if err != nil {
		return ModeESXi
	}
	return Mode(b)
}
