package engine

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Registries are what buildkitd is to know of registries; see spec.VCH.
type Registries struct {
	Mirrors  []string // URLs, tried in order before Docker Hub
	Insecure []string // host[:port]; ranges of addresses cannot be told to buildkitd
	CAs      string   // PEM
}

// toml is buildkitd.toml: https://github.com/moby/buildkit/blob/v0.34.2/docs/buildkitd.toml.md
// Containers of a build are on the builder's own network, so that entitlement gives
// nothing away; neither does being privileged inside a VM of one's own.
func (r Registries) toml() string {
	var b strings.Builder
	b.WriteString("insecure-entitlements = [\"network.host\", \"security.insecure\"]\n")
	plain, insecure := map[string]bool{}, map[string]bool{}
	var mirrors []string
	for _, m := range r.Mirrors {
		u, err := url.Parse(m)
		if err != nil || u.Host == "" {
			continue // vic-machine has checked them; a mirror is never needed
		}
		mirrors = append(mirrors, strconv.Quote(u.Host+strings.TrimSuffix(u.Path, "/")))
		if u.Scheme == "http" {
			plain[u.Host] = true
		}
	}
	for _, h := range r.Insecure {
		if !strings.Contains(h, "/") {
			insecure[h] = true
		}
	}
	if len(mirrors) > 0 {
		fmt.Fprintf(&b, "[registry.\"docker.io\"]\n  mirrors = [%s]\n", strings.Join(mirrors, ", "))
	}
	var hosts []string
	for h := range plain {
		hosts = append(hosts, h)
	}
	for h := range insecure {
		if !plain[h] {
			hosts = append(hosts, h)
		}
	}
	slices.Sort(hosts)
	for _, h := range hosts {
		fmt.Fprintf(&b, "[registry.%s]\n  http = true\n", strconv.Quote(h))
		if insecure[h] { // plain HTTP is tried first, then TLS that nobody checks
			b.WriteString("  insecure = true\n")
		}
	}
	return b.String()
}
