package certs

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/containerd/errdefs"
)

// lifetime of a made certificate: the VCH is meant to live for years, and
// nothing renews it. Clients that cap lifetimes at 825 days (macOS) do so for
// certificates of a verified chain, hence issued ones are shorter.
const (
	lifetime       = 10 * 365 * 24 * time.Hour
	issuedLifetime = 820 * 24 * time.Hour
	// skew of the appliance's clock that does no harm.
	skew = 24 * time.Hour
)

// Pair is a certificate with its private key, both PEM.
type Pair struct {
	Cert, Key []byte
}

// Authority signs the server's and the clients' certificates of one VCH.
type Authority struct {
	Pair
	cert *x509.Certificate
	key  crypto.Signer
}

// SelfSigned makes a server certificate that vouches for itself. names are DNS
// names (wildcards allowed) and IP addresses.
func SelfSigned(cn string, names []string, now time.Time) (Pair, error) {
	tmpl, err := template(cn, names, now, lifetime)
	if err != nil {
		return Pair{}, err
	}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	// A client that is given this very certificate as its CA must accept it.
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage |= x509.KeyUsageCertSign
	p, _, _, err := issue(tmpl, nil, nil)
	return p, err
}

// NewAuthority makes a certificate authority.
func NewAuthority(cn string, now time.Time) (*Authority, error) {
	tmpl, err := template(cn, nil, now, lifetime)
	if err != nil {
		return nil, err
	}
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	p, cert, key, err := issue(tmpl, nil, nil)
	if err != nil {
		return nil, err
	}
	return &Authority{Pair: p, cert: cert, key: key}, nil
}

// Server issues a server certificate for names.
func (a *Authority) Server(cn string, names []string, now time.Time) (Pair, error) {
	return a.issue(cn, names, x509.ExtKeyUsageServerAuth, now)
}

// Client issues a certificate that a Docker client shows.
func (a *Authority) Client(cn string, now time.Time) (Pair, error) {
	return a.issue(cn, nil, x509.ExtKeyUsageClientAuth, now)
}

func (a *Authority) issue(cn string, names []string, use x509.ExtKeyUsage, now time.Time) (Pair, error) {
	tmpl, err := template(cn, names, now, issuedLifetime)
	if err != nil {
		return Pair{}, err
	}
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{use}
	p, _, _, err := issue(tmpl, a.cert, a.key)
	return p, err
}

func template(cn string, names []string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: cn, Organization: []string{"vic"}},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
			continue
		}
		if n != "" {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	return tmpl, nil
}

// issue makes a new P-256 key and signs tmpl with the parent, or with the new
// key itself when there is none.
func issue(tmpl, parent *x509.Certificate, signer crypto.Signer) (Pair, *x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, nil, nil, fmt.Errorf("make key of %s: %w", tmpl.Subject.CommonName, err)
	}
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		return Pair{}, nil, nil, fmt.Errorf("sign certificate of %s: %w", tmpl.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Pair{}, nil, nil, fmt.Errorf("read certificate of %s back: %w", tmpl.Subject.CommonName, err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, nil, nil, fmt.Errorf("write key of %s: %w", tmpl.Subject.CommonName, err)
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	}, cert, key, nil
}

// Check tells whether cert and key belong together and are in their time.
func (p Pair) Check(now time.Time) error {
	c, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("certificate expired on %s: %w", leaf.NotAfter.UTC().Format(time.DateOnly), errdefs.ErrInvalidArgument)
	}
	return nil
}

// Authority reads a pair back as an authority.
func (p Pair) Authority(now time.Time) (*Authority, error) {
	if err := p.Check(now); err != nil {
		return nil, err
	}
	c, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return nil, err
	}
	key, ok := c.PrivateKey.(crypto.Signer)
	if !ok || !leaf.IsCA {
		return nil, fmt.Errorf("certificate of %s cannot sign others: %w", leaf.Subject.CommonName, errdefs.ErrInvalidArgument)
	}
	return &Authority{Pair: p, cert: leaf, key: key}, nil
}

// CheckBundle tells whether text is one or more PEM certificates.
func CheckBundle(text []byte) error {
	n := 0
	for rest := text; ; {
		var b *pem.Block
		b, rest = pem.Decode(rest)
		if b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			return fmt.Errorf("a PEM block of type %s is no certificate: %w", b.Type, errdefs.ErrInvalidArgument)
		}
		if _, err := x509.ParseCertificate(b.Bytes); err != nil {
			return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		n++
	}
	if n == 0 {
		return fmt.Errorf("no PEM certificate in it: %w", errdefs.ErrInvalidArgument)
	}
	return nil
}

// ErrOther is what a connection with a Pinned configuration fails with when the
// server shows another certificate.
var ErrOther = errors.New("the server shows another certificate than the one made for it")

// Pinned is a client's TLS configuration that accepts the one certificate in
// cert (the first of a chain), whatever name or address it was reached by.
// client may be empty.
func Pinned(cert []byte, client Pair) (*tls.Config, error) {
	block, _ := pem.Decode(cert)
	if block == nil {
		return nil, fmt.Errorf("no PEM certificate: %w", errdefs.ErrInvalidArgument)
	}
	want := block.Bytes
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // VerifyPeerCertificate below compares the certificate itself
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || !bytes.Equal(raw[0], want) {
				return ErrOther
			}
			return nil
		},
	}
	if len(client.Cert) > 0 {
		kp, err := tls.X509KeyPair(client.Cert, client.Key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{kp}
	}
	return c, nil
}
