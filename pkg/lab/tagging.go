package lab

import (
	"net/http"
	"strings"

	"github.com/vmware/govmomi/vapi/rest"
	vapi "github.com/vmware/govmomi/vapi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	restSessions = rest.Path + "/com/vmware/cis/session"
	restTagging  = rest.Path + "/com/vmware/cis/tagging/"
)

// tagging serves what vCenter's REST API has of tags, and its sessions; nothing
// else of that API. Tags are kept as long as the lab's process runs, and those of a
// VM that is gone stay listed.
func (l *Lab) tagging() http.Handler {
	_, api := vapi.New(l.svc.Listen, l.svc.Context.Map)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		// The simulator takes any token of single sign-on, which the lab has not.
		if r.Method == http.MethodPost && strings.TrimSuffix(r.URL.Path, "/") == restSessions && r.URL.RawQuery == "" {
			user, password, ok := r.BasicAuth()
			if !ok || !l.validLogin(&types.Login{UserName: user, Password: password}) {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
		}
		defer func() {
			if p := recover(); p != nil {
				l.log.Errorf("panic in a call of the REST API: %v", p)
				w.WriteHeader(http.StatusBadRequest)
			}
		}()
		api.ServeHTTP(w, r)
	})
}
