package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests counts what clients asked of the Docker API, and the time that it took.
type Requests struct{ took *prometheus.SummaryVec }

// NewRequests gives counters at zero.
func NewRequests() *Requests {
	return &Requests{prometheus.NewSummaryVec(prometheus.SummaryOpts{
		Name: "vic_api_request_seconds",
		Help: "Time from the arrival of a request of the Docker API until its answer was written.",
	}, []string{"method", "route"})}
}

// Took counts one request; route is its path with {name} for what varies.
func (r *Requests) Took(method, route string, d time.Duration) {
	r.took.WithLabelValues(method, route).Observe(d.Seconds())
}
