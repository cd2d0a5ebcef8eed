package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"
	"time"
)

// handshake lets a client with cfg talk to a server that shows p.
func handshake(t *testing.T, p Pair, cas []byte, cfg *tls.Config) error {
	t.Helper()
	kp, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	srv := &tls.Config{Certificates: []tls.Certificate{kp}}
	if cas != nil {
		srv.ClientAuth, srv.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		srv.ClientCAs.AppendCertsFromPEM(cas)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", srv)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	end := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = c.Write([]byte("x"))
			c.Close()
		}
		end <- err
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), cfg)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
		c.Close()
	}
	return errors.Join(err, <-end)
}

func TestPinned(t *testing.T) {
	now := time.Now()
	p, err := SelfSigned("VCH001", []string{"VCH001"}, now)
	if err != nil {
		t.Fatal(err)
	}
	other, err := SelfSigned("VCH001", []string{"VCH001"}, now)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := Pinned(p.Cert, Pair{})
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, p, nil, cfg); err != nil {
		t.Errorf("the pinned certificate: %v", err)
	}
	if err := handshake(t, other, nil, cfg); !errors.Is(err, ErrOther) {
		t.Errorf("another certificate: %v", err)
	}
}

func TestMutual(t *testing.T) {
	now := time.Now()
	ca, err := NewAuthority("CA", now)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ca.Pair.Authority(now)
	if err != nil {
		t.Fatal(err)
	}
	server, err := again.Server("vch", []string{"vch.example.com", "10.1.2.3"}, now)
	if err != nil {
		t.Fatal(err)
	}
	client, err := ca.Client("me", now)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Cert)
	kp, err := tls.X509KeyPair(client.Cert, client.Key)
	if err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{"vch.example.com": true, "10.1.2.3": true, "other.example.com": false} {
		err := handshake(t, server, ca.Cert, &tls.Config{RootCAs: pool, ServerName: name, Certificates: []tls.Certificate{kp}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := handshake(t, server, ca.Cert, &tls.Config{RootCAs: pool, ServerName: "10.1.2.3"}); err == nil {
		t.Error("a client without certificate got in")
	}
	pinned, err := Pinned(server.Cert, client)
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, server, ca.Cert, pinned); err != nil {
		t.Errorf("pinned with client certificate: %v", err)
	}
	if _, err := server.Authority(now); err == nil {
		t.Error("a server's certificate passes as an authority")
	}
}

func TestCheck(t *testing.T) {
	now := time.Now()
	p, err := SelfSigned("x", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Check(now); err != nil {
		t.Error(err)
	}
	if err := p.Check(now.Add(2 * lifetime)); err == nil {
		t.Error("an expired certificate passes")
	}
	q, err := SelfSigned("x", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := (Pair{Cert: p.Cert, Key: q.Key}).Check(now); err == nil {
		t.Error("a key of another certificate passes")
	}
	for text, ok := range map[string]bool{string(p.Cert): true, string(p.Cert) + string(q.Cert): true, "": false, string(p.Key): false,
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})): false} {
		if err := CheckBundle([]byte(text)); (err == nil) != ok {
			t.Errorf("CheckBundle(%.40q): %v", text, err)
		}
	}
}
