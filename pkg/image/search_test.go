package image_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	. "github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
)

// TestSearchShows: who searches with what a client has of a login, be it a password, an
// identity token or a registry's token, finds what is theirs.
func TestSearchShows(t *testing.T) {
	reg := imagetest.Start(t)
	scope := ""
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		user, pass, _ := r.BasicAuth()
		switch {
		case r.URL.Path == "/token":
			_ = r.ParseForm()
			if r.Form.Get("refresh_token") != "idtoken" {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			scope = r.Form.Get("scope")
			fmt.Fprint(w, `{"token":"good","access_token":"good"}`)
		case r.Header.Get("Authorization") != "Bearer good" && (user != "me" || pass != "geheim"):
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+reg.URL+`/token",service="s"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/v1/search":
			fmt.Fprintf(w, `{"results":[{"name":%q,"star_count":3}]}`, r.FormValue("q"))
		}
		return true
	})
	c := newClient(t, ClientConfig{})
	for name, a := range map[string]Auth{
		"password": {Username: "me", Password: "geheim"}, "identity": {Username: "me", Token: "idtoken"}, "registry": {RegistryToken: "good"},
	} {
		scope = ""
		found, err := c.Search(context.Background(), reg.Host()+"/mine", 0, a)
		if err != nil || len(found) != 1 || found[0].Name != "mine" || found[0].Stars != 3 {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
		if a.Token != "" && scope != "registry:catalog:search" {
			t.Errorf("a token for %q was asked for", scope)
		}
	}
	for name, a := range map[string]Auth{"nobody": {}, "identity": {Username: "me", Token: "of another"}} {
		if _, err := c.Search(context.Background(), reg.Host()+"/mine", 0, a); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "401") && !strings.Contains(err.Error(), "unauthorized") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
