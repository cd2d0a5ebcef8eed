package registry

import (
	"crypto/subtle"
	"net/http"
	"strings"
)

// The account that private repositories want.
const (
	PrivateUser     = "lab"
	PrivatePassword = "secret"
)

// private asks for the account, with basic authentication, wherever a repository is
// below one of the prefixes ("private/").
func private(prefixes []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, p := range prefixes {
			if strings.HasPrefix(r.URL.Path, "/v2/"+p) && !isPrivateUser(r) {
				w.Header().Set("WWW-Authenticate", `Basic realm="vic-lab"`)
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)) // the client is gone, or reads it
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func isPrivateUser(r *http.Request) bool {
	user, password, _ := r.BasicAuth()
	return subtle.ConstantTimeCompare([]byte(user+":"+password), []byte(PrivateUser+":"+PrivatePassword)) == 1
}
