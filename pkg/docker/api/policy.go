package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/server/httputils"
)

// policyRoutes are our own: what Docker has no request for.
func (s *server) policyRoutes() []route {
	return []route{{http.MethodPost, "/vic/traceflow", s.postTraceflow}}
}

// TraceRequest is the body of POST /vic/traceflow, which vic-machine sends; the
// answer is a policy.Trace.
type TraceRequest struct {
	From, To, Proto string
	Port            int
}

func (s *server) postTraceflow(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := httputils.CheckForJSON(r); err != nil {
		return err
	}
	var q TraceRequest
	if err := decodeJSON(r.Body, &q); err != nil {
		return err
	}
	t, err := s.e.Traceflow(engine.TraceRequest(q))
	if err != nil {
		return err
	}
	return httputils.WriteJSON(w, http.StatusOK, t)
}

// policyOption is how inspect shows one rule among a network's options: under
// vic.policy.NAME.LINE, or vic.policy.vch/NAME.LINE for those of the VCH, the rule
// with the containers that are in its groups now.
func policyOption(r engine.PolicyRule) (key, value string) {
	owner := ""
	if r.Network == "" {
		owner = "vch/"
	}
	from, to := "", ""
	if !r.From.Any() {
		from = " [" + strings.Join(r.Senders, " ") + "]"
	}
	if !r.To.Any() {
		to = " [" + strings.Join(r.Receivers, " ") + "]"
	}
	text := r.Rule.String()
	at := strings.LastIndex(text, " to ")
	return fmt.Sprintf("vic.policy.%s%s.%d", owner, r.Policy, r.Line), text[:at] + from + text[at:] + to
}
