package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/install/certs"
	"github.com/vic-engine/vic/pkg/spec"
)

func TestReadConfig(t *testing.T) {
	name := filepath.Join(t.TempDir(), "vch.json")
	if _, err := readConfig(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(name, []byte(`{"Name":"VCH001","Debug":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if vch, err := readConfig(name); err != nil || vch.Name != "VCH001" || vch.Debug != 1 {
		t.Errorf("got %+v, %v", vch, err)
	}
	if err := os.WriteFile(name, []byte(`{"Name":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readConfig(name); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("half a file: %v, want an error that names it", err)
	}
}

func TestBootTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "90s": 90 * time.Second} {
		if got, err := bootTimeout(spec.VCH{BootTimeout: text}); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	if _, err := bootTimeout(spec.VCH{BootTimeout: "soon"}); err == nil {
		t.Error(`"soon" was taken`)
	}
}

// serving runs listen with the VCH's certificates and gives its address.
func serving(t *testing.T, vch spec.VCH) (addr string) {
	t.Helper()
	tc, err := serverTLS(vch)
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	d := &daemon{log: logrus.NewEntry(log)}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "served") })
		done <- d.listen(ctx, "test", "127.0.0.1:0", tc, h, func(a string) { ready <- a })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("listen ended with %v", err)
		}
	})
	return <-ready
}

func fetch(url string, tc *tls.Config) (string, error) {
	tr := &http.Transport{TLSClientConfig: tc}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func TestListen(t *testing.T) {
	ca, err := certs.NewAuthority("vch.example", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	sp, err1 := ca.Server("vch.example", []string{"vch.example"}, time.Now())
	cp, err2 := ca.Client("vch.example", time.Now())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	server := spec.VCH{ServerCert: string(sp.Cert), ServerKey: string(sp.Key)}
	mutual := server
	mutual.ClientCAs = string(ca.Pair.Cert)
	client, err := tls.X509KeyPair(cp.Cert, cp.Key)
	if err != nil {
		t.Fatal(err)
	}
	anyone := &tls.Config{InsecureSkipVerify: true}
	known := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{client}}
	for name, tc := range map[string]struct {
		vch    spec.VCH
		scheme string
		client *tls.Config
		ok     bool
	}{
		"plain":                          {spec.VCH{}, "http://", nil, true},
		"TLS":                            {server, "https://", anyone, true},
		"plain client on TLS":            {server, "http://", nil, false},
		"mutual TLS with certificate":    {mutual, "https://", known, true},
		"mutual TLS without certificate": {mutual, "https://", anyone, false},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := fetch(tc.scheme+serving(t, tc.vch)+"/", tc.client)
			if got := err == nil && text == "served"; got != tc.ok {
				t.Errorf("served: %v (%q, %v), want %v", got, text, err, tc.ok)
			}
		})
	}
}

func TestBadCertificates(t *testing.T) {
	if _, err := serverTLS(spec.VCH{ServerCert: "no PEM", ServerKey: "x"}); err == nil {
		t.Error("a certificate that is none was taken")
	}
	if _, err := registryTransport(spec.VCH{RegistryCAs: "no PEM"}); err == nil {
		t.Error("a registry CA that is none was taken")
	}
	if tr, err := registryTransport(spec.VCH{}); tr != nil || err != nil {
		t.Errorf("without CAs: %v, %v; want the default transport", tr, err)
	}
}
