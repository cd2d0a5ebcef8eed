package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/builder"
	"github.com/vic-engine/vic/pkg/image"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/registry"
)

// buildQuery is what POST /build asks for.
type buildQuery struct {
	builder.Options
	quiet bool
	// id names the build for /build/cancel.
	id string
	// trace is set for clients that show BuildKit's own progress (version=2).
	trace bool
}

// maxBuildAuth bounds X-Registry-Config, in bytes of its JSON.
const maxBuildAuth = 1 << 20

// parseBuild reads the query and the headers of a build. Options that a builder VM
// has no use for are refused by name.
func parseBuild(r *http.Request) (buildQuery, error) {
	var q buildQuery
	if err := parseForm(r); err != nil {
		return q, err
	}
	f := r.Form
	q.Options = builder.Options{
		Remote: f.Get("remote"), Dockerfile: f.Get("dockerfile"), Target: f.Get("target"), NoCache: httputils.BoolValue(r, "nocache"),
		Pull: httputils.BoolValue(r, "pull"), Platform: f.Get("platform"), Network: f.Get("networkmode"), Hosts: f["extrahosts"],
		Names: slices.DeleteFunc(slices.Clone(f["t"]), func(s string) bool { return s == "" }),
	}
	q.quiet, q.id = httputils.BoolValue(r, "q"), f.Get("buildid")
	if err := refuseBuild(r); err != nil {
		return q, err
	}
	if err := image.CheckPlatform(q.Platform); err != nil {
		return q, err
	}
	switch v := f.Get("version"); v {
	case "", string(build.BuilderV1):
	case string(build.BuilderBuildKit):
		q.trace = true
		q.Session = f.Get("session")
	default:
		return q, badRequest("invalid version %q", v)
	}
	switch {
	case q.Remote == "client-session":
		if q.Session == "" {
			return q, badRequest("remote=client-session needs session and version=2")
		}
		q.Remote = ""
	case q.Remote == "upload-request" || strings.HasPrefix(q.id, "upload-request:"):
		return q, missing("a context that is uploaded apart from the build (upload-request): send it as the body, or use buildx")
	case q.Remote == "":
		q.Context = r.Body
	}
	if err := fromJSON(f.Get("buildargs"), "build args", &q.Args); err != nil {
		return q, err
	}
	if err := fromJSON(f.Get("labels"), "labels", &q.Labels); err != nil {
		return q, err
	}
	if err := fromJSON(f.Get("cachefrom"), "cache-from", &q.CacheFrom); err != nil {
		return q, err
	}
	var limits []*container.Ulimit
	if err := fromJSON(f.Get("ulimits"), "ulimits", &limits); err != nil {
		return q, err
	}
	for _, l := range limits {
		if l == nil || l.Name == "" || strings.ContainsAny(l.Name, ",=") {
			return q, badRequest("ulimits: a limit without a name")
		}
		q.Ulimits = append(q.Ulimits, fmt.Sprintf("%s=%d:%d", l.Name, l.Soft, l.Hard))
	}
	var outputs []build.ImageBuildOutput
	if err := fromJSON(f.Get("outputs"), "outputs", &outputs); err != nil {
		return q, err
	}
	switch len(outputs) {
	case 0:
	case 1:
		q.Output = &builder.Output{Type: outputs[0].Type, Attrs: outputs[0].Attrs}
	default:
		return q, missing("several outputs of one classic build: use buildx")
	}
	if s := f.Get("shmsize"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return q, badRequest("shmsize %q: want a number of bytes", s)
		}
		q.ShmBytes = n
	}
	creds, err := buildAuth(r.Header.Get("X-Registry-Config"))
	q.Credentials = creds
	return q, err
}

// refuseBuild names what was asked for and has no effect here.
func refuseBuild(r *http.Request) error {
	f := r.Form
	for _, k := range []string{"memory", "memswap", "cpushares", "cpuperiod", "cpuquota"} {
		if v := f.Get(k); v != "" && v != "0" && v != "-1" {
			return missing(fmt.Sprintf("%s of a build: its limits are those of the builder's VM", k))
		}
	}
	for _, k := range []string{"cpusetcpus", "cpusetmems", "cgroupparent"} {
		if f.Get(k) != "" {
			return missing(fmt.Sprintf("%s of a build: its limits are those of the builder's VM", k))
		}
	}
	if httputils.BoolValue(r, "squash") {
		return missing("squashing the layers of a build (squash)")
	}
	if len(f["securityopt"]) > 0 {
		return badRequest("security options are not supported on linux")
	}
	if i := f.Get("isolation"); i != "" && i != "default" {
		return badRequest("unsupported isolation: %q", i)
	}
	return nil
}

func fromJSON(text, what string, into any) error {
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return badRequest("error reading %s: %v", what, err)
	}
	return nil
}

// buildAuth reads X-Registry-Config: credentials by registry. As in Docker, a header
// that cannot be read means none.
func buildAuth(header string) (map[string]builder.Credential, error) {
	if header == "" {
		return nil, nil
	}
	var all map[string]registry.AuthConfig
	d := json.NewDecoder(io.LimitReader(base64.NewDecoder(base64.URLEncoding, strings.NewReader(header)), maxBuildAuth))
	if d.Decode(&all) != nil {
		return nil, nil
	}
	out := map[string]builder.Credential{}
	for host, a := range all {
		c := builder.Credential{Username: a.Username, Password: a.Password, Token: a.IdentityToken}
		if c.Username == "" && c.Password == "" && c.Token == "" && a.Auth != "" {
			if raw, err := base64.StdEncoding.DecodeString(a.Auth); err == nil {
				c.Username, c.Password, _ = strings.Cut(string(raw), ":")
			}
		}
		out[host] = c
	}
	return out, nil
}
