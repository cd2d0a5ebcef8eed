package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/go-units"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// registryIndex is how Docker names Docker Hub in logins.
const registryIndex = "https://index.docker.io/v1/"

// postAuth is login: the credentials are good if the registry's /v2/ says so.
func (s *server) postAuth(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	var c registry.AuthConfig
	if err := decodeJSON(r.Body, &c); err != nil {
		return err
	}
	if err := s.checkLogin(ctx, c); err != nil {
		return err
	}
	return httputils.WriteJSON(w, http.StatusOK, &registry.AuthenticateOKBody{Status: "Login Succeeded", IdentityToken: c.IdentityToken})
}

func (s *server) checkLogin(ctx context.Context, c registry.AuthConfig) error {
	host := registryHost(c.ServerAddress)
	var opts []name.Option
	if s.insecure(host) {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(host, opts...)
	if err != nil {
		return badRequest("registry %q: %v", c.ServerAddress, err)
	}
	base := s.RegistryTransport
	if base == nil {
		base = http.DefaultTransport
	}
	auth := authn.FromConfig(authn.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken})
	rt, err := transport.NewWithContext(ctx, reg, auth, base, nil)
	if err != nil {
		return loginError(reg, err)
	}
	// NewWithContext only gets a token; asking again also checks basic auth.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, reg.Scheme()+"://"+reg.RegistryStr()+"/v2/", nil)
	if err != nil {
		return badRequest("registry %q: %v", c.ServerAddress, err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return loginError(reg, err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16)) // lets the connection be used again
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		return loginError(reg, err)
	}
	return nil
}

// loginError gives a registry's refusal Docker's class and words. The
// credentials are in neither.
func loginError(reg name.Registry, err error) error {
	var te *transport.Error
	if errors.As(err, &te) && (te.StatusCode == http.StatusUnauthorized || te.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("Get %q: unauthorized: incorrect username or password%w", reg.Scheme()+"://"+reg.RegistryStr()+"/v2/", hidden{errdefs.ErrUnauthenticated}) //nolint:staticcheck // Docker's words
	}
	return fmt.Errorf("login to %s: %w", reg.RegistryStr(), err)
}

func registryHost(addr string) string {
	if addr == "" || addr == registryIndex || addr == "docker.io" {
		return name.DefaultRegistry
	}
	if u, err := url.Parse(addr); err == nil && u.Host != "" {
		return u.Host
	}
	host, _, _ := strings.Cut(addr, "/")
	return host
}

// insecure tells whether a registry is configured to be reached without TLS.
func (s *server) insecure(host string) bool {
	h, _, err := net.SplitHostPort(host)
	if err != nil {
		h = host
	}
	ip, ipErr := netip.ParseAddr(h)
	for _, r := range s.InsecureRegistries {
		if r == host || r == h {
			return true
		}
		if p, err := netip.ParsePrefix(r); err == nil && ipErr == nil && p.Contains(ip) {
			return true
		}
	}
	return false
}

// registryConfig is what info shows of registries.
func (s *server) registryConfig() *registry.ServiceConfig {
	c := &registry.ServiceConfig{
		IndexConfigs: map[string]*registry.IndexInfo{
			"docker.io": {Name: "docker.io", Mirrors: append([]string{}, s.RegistryMirrors...), Secure: true, Official: true},
		},
		InsecureRegistryCIDRs: []*registry.NetIPNet{},
		Mirrors:               append([]string{}, s.RegistryMirrors...),
	}
	for _, r := range s.InsecureRegistries {
		if _, n, err := net.ParseCIDR(r); err == nil {
			c.InsecureRegistryCIDRs = append(c.InsecureRegistryCIDRs, (*registry.NetIPNet)(n))
			continue
		}
		c.IndexConfigs[r] = &registry.IndexInfo{Name: r, Mirrors: []string{}}
	}
	return c
}

func bytes(n int64) string { return units.BytesSize(float64(n)) }

func mhz(n int64) string { return strconv.FormatInt(n, 10) + " MHz" }
