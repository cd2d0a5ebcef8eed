package admin

import (
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"os"
	"sort"
	"strconv"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
)

// maxTail bounds what /logs/<name>?tail=N sends, in bytes.
const maxTail = 1 << 20

// Config of the admin handler. All but Logs and Requests is required.
type Config struct {
	VCH     spec.VCH
	Version string
	// State is the engine's state in a word, "RUNNING".
	State func() string
	// Containers gives what the VCH knows, from memory.
	Containers func() []spec.View
	// Logs are files by the name under which they are shown.
	Logs map[string]string
	// Started is when the engine started.
	Started time.Time
	// Requests are shown among the figures; nil: none.
	Requests *Requests
	Log      *logrus.Entry
}

type handler struct {
	Config
}

// New returns the handler for port 2378: /, /logs/<name>, /metrics, /healthz.
func New(cfg Config) (http.Handler, error) {
	if cfg.State == nil || cfg.Containers == nil || cfg.Log == nil {
		return nil, errors.New("admin: State, Containers and Log must be set")
	}
	h := &handler{cfg}
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &containers{h})
	if cfg.Requests != nil {
		reg.MustRegister(cfg.Requests.took)
	}
	m := mux.NewRouter()
	m.HandleFunc("/", h.page).Methods(http.MethodGet)
	m.HandleFunc("/healthz", h.health).Methods(http.MethodGet)
	m.HandleFunc("/logs/{name}", h.log).Methods(http.MethodGet)
	m.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{})).Methods(http.MethodGet)
	return m, nil
}

func (h *handler) health(w http.ResponseWriter, _ *http.Request) {
	state := h.State()
	if state != "RUNNING" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, state)
}

// log sends a log file, or with ?tail=BYTES its end.
func (h *handler) log(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["name"]
	path, ok := h.Logs[name]
	if !ok {
		http.Error(w, fmt.Sprintf("no log %q; there are: %v", name, h.logNames()), http.StatusNotFound)
		return
	}
	f, err := os.Open(path)
	if err != nil {
		http.Error(w, fmt.Sprintf("log %q cannot be read", name), http.StatusNotFound)
		h.Log.WithError(err).WithField(spec.FieldPath, path).Warn("log file")
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if t := r.URL.Query().Get("tail"); t != "" {
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil || n < 1 || n > maxTail {
			http.Error(w, fmt.Sprintf("tail=%q: want a number of bytes from 1 to %d", t, maxTail), http.StatusBadRequest)
			return
		}
		if _, err := f.Seek(-n, io.SeekEnd); err != nil { // shorter than that: all of it
			_, err = f.Seek(0, io.SeekStart)
			if err != nil {
				http.Error(w, "log cannot be read", http.StatusInternalServerError)
				return
			}
		}
	}
	if _, err := io.Copy(w, f); err != nil {
		h.Log.WithError(err).Debug("send log")
	}
}

func (h *handler) logNames() []string {
	names := make([]string, 0, len(h.Logs))
	for n := range h.Logs {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func (h *handler) page(w http.ResponseWriter, _ *http.Request) {
	views := h.Containers()
	sort.Slice(views, func(i, j int) bool { return views[i].Container.Name < views[j].Container.Name })
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	err := page.Execute(w, map[string]any{
		"Name": h.VCH.Name, "UUID": h.VCH.UUID, "Version": h.Version, "State": h.State(),
		"Target": h.VCH.Target, "Store": h.VCH.ImageStore, "Pool": h.VCH.Pool, "Networks": h.VCH.Networks,
		"Uptime": time.Since(h.Started).Round(time.Second), "Logs": h.logNames(), "Containers": views,
	})
	if err != nil {
		h.Log.WithError(err).Debug("send admin page")
	}
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Name}}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25em .8em .25em 0;border-bottom:1px solid #ddd;vertical-align:top}
code{font-size:90%}.up{color:#0a6b2d}.down{color:#a11}
</style></head><body>
<h1>{{.Name}} <span class="{{if eq .State "RUNNING"}}up{{else}}down{{end}}">{{.State}}</span></h1>
<table>
<tr><th>Version</th><td>{{.Version}}</td></tr><tr><th>Identity</th><td><code>{{.UUID}}</code></td></tr>
<tr><th>vSphere</th><td>{{.Target}}</td></tr><tr><th>Pool</th><td>{{.Pool}}</td></tr>
<tr><th>Image store</th><td>{{.Store}}</td></tr><tr><th>Engine up for</th><td>{{.Uptime}}</td></tr>
{{range $role, $n := .Networks}}<tr><th>Network {{$role}}</th><td>{{$n.PortGroup}}{{with $n.IP}} {{.}}{{end}}</td></tr>{{end}}
</table>
<h2>Containers</h2>
<table><tr><th>Name</th><th>Image</th><th>State</th><th>VM</th></tr>
{{range .Containers}}<tr><td>{{.Container.Name}}</td><td>{{.Container.Repo}}</td><td>{{.Status.Phase}}</td><td><code>{{.Status.VMName}}</code></td></tr>
{{else}}<tr><td colspan="4">none</td></tr>{{end}}</table>
<h2>Logs and figures</h2>
<ul>{{range .Logs}}<li><a href="/logs/{{.}}">{{.}}</a> (<a href="/logs/{{.}}?tail=65536">end</a>)</li>{{end}}<li><a href="/metrics">metrics</a></li></ul>
</body></html>
`))

// containers is the collector of the VCH's own figures.
type containers struct{ h *handler }

var (
	descContainers = prometheus.NewDesc("vic_containers", "Containers of the VCH by state.", []string{"state"}, nil)
	descUp         = prometheus.NewDesc("vic_engine_running", "1 when the engine serves requests.", nil, nil)
	descInfo       = prometheus.NewDesc("vic_info", "Version and name of the VCH; the value is always 1.", []string{"version", "name", "uuid"}, nil)
)

func (c *containers) Describe(ch chan<- *prometheus.Desc) {
	ch <- descContainers
	ch <- descUp
	ch <- descInfo
}

func (c *containers) Collect(ch chan<- prometheus.Metric) {
	n := map[spec.Phase]int{spec.PhaseCreated: 0, spec.PhaseRunning: 0, spec.PhaseExited: 0}
	for _, v := range c.h.Containers() {
		n[v.Status.Phase]++
	}
	for p, k := range n {
		ch <- prometheus.MustNewConstMetric(descContainers, prometheus.GaugeValue, float64(k), string(p))
	}
	up := 0.0
	if c.h.State() == "RUNNING" {
		up = 1
	}
	ch <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, up)
	ch <- prometheus.MustNewConstMetric(descInfo, prometheus.GaugeValue, 1, c.h.Version, c.h.VCH.Name, c.h.VCH.UUID)
}
