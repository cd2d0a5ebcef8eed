package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/registry"
)

func TestLogin(t *testing.T) {
	h := serve(t, false)
	reg := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "me" || p != "right" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer reg.Close()
	host := strings.TrimPrefix(reg.URL, "http://")
	ok, err := h.c.RegistryLogin(h.ctx, registry.AuthConfig{ServerAddress: host, Username: "me", Password: "right"})
	if err != nil || ok.Status != "Login Succeeded" {
		t.Errorf("right password: %+v, %v", ok, err)
	}
	_, err = h.c.RegistryLogin(h.ctx, registry.AuthConfig{ServerAddress: host, Username: "me", Password: "wrong-secret"})
	if err == nil || !strings.Contains(err.Error(), "unauthorized: incorrect username or password") || strings.Contains(err.Error(), "wrong-secret") {
		t.Errorf("wrong password: %v", err)
	}
	code, body := h.do("POST", "/auth", `{"serveraddress":"`+host+`","username":"me","password":"wrong"}`)
	if code != http.StatusUnauthorized {
		t.Errorf("wrong password: %d %s", code, body)
	}
	if code, _ := h.do("POST", "/auth", `{"serveraddress":"127.0.0.1:1","username":"me","password":"x"}`); code != http.StatusInternalServerError {
		t.Errorf("registry that is down: %d", code)
	}
}
