package image

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// SearchResult is one repository that a search found.
type SearchResult struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Stars       int    `json:"star_count"`
	Official    bool   `json:"is_official"`
}

// searchHost is where Docker Hub is searched, which is not where it is pulled
// from: https://docs.docker.com/reference/cli/docker/search/
const searchHost = "index.docker.io"

// Search asks a registry's index for repositories; a term that begins with a
// host is asked of that. limit is from 1 to 100, 0 is 25. Only Docker Hub and
// few others can search, and mirrors cannot: what cannot be reached or does not
// answer is ErrUnavailable and says so.
func (c *Client) Search(ctx context.Context, term string, limit int, auth Auth) ([]SearchResult, error) {
	switch {
	case limit == 0:
		limit = 25
	case limit < 1 || limit > 100:
		return nil, bad("limit %d is outside the range of [1, 100]", limit)
	}
	if strings.HasPrefix(term, "http://") || strings.HasPrefix(term, "https://") {
		return nil, bad("invalid repository name: repository name (%s) should not have a scheme", term)
	}
	host, what := searchHost, term
	if first, rest, ok := strings.Cut(term, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		host, what = first, rest
		if first == dockerHub {
			host = searchHost
		}
	}
	what = strings.TrimPrefix(what, "library/")
	e, err := c.endpoint(host, "", c.isInsecure(ctx, host), auth)
	if err != nil {
		return nil, err
	}
	found, err := e.search(ctx, what, limit, auth)
	if err == nil || ctx.Err() != nil {
		return found, err
	}
	text := fmt.Sprintf("search of %s: %v", host, err)
	if host == searchHost && len(c.mirrors) > 0 {
		text += fmt.Sprintf(" (the VCH's mirror %s cannot be searched: ask it for the tags of a name, with docker pull --all-tags)", c.mirrors[0].Host)
	}
	return nil, &classified{errdefs.ErrUnavailable, text, err}
}

// searchScope is what an identity token is exchanged for, as Docker's client asks it.
const searchScope = "registry:catalog:search"

// search speaks the index's first protocol, the only one that can search.
func (e *endpoint) search(ctx context.Context, term string, limit int, auth Auth) ([]SearchResult, error) {
	u := url.URL{Scheme: e.registry.Scheme(), Host: e.host, Path: "/v1/search", RawQuery: url.Values{"q": {term}, "n": {strconv.Itoa(limit)}}.Encode()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	rt := e.base
	switch {
	case auth.RegistryToken != "":
		req.Header.Set("Authorization", "Bearer "+auth.RegistryToken)
	case auth.Token != "":
		if rt, err = transport.NewWithContext(ctx, e.registry, e.auth, e.base, []string{searchScope}); err != nil {
			return nil, err
		}
	case auth.Username != "" && auth.Password != "":
		req.SetBasicAuth(auth.Username, auth.Password)
	}
	resp, err := (&http.Client{Transport: rt}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() // only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	raw, err := readAll(resp.Body, maxManifest)
	if err != nil {
		return nil, err
	}
	var list struct {
		Results []SearchResult `json:"results"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("it answers what is no result of a search: %w", err)
	}
	return list.Results, nil
}
