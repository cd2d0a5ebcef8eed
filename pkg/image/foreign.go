package image

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// isForeign tells whether a layer of this media type is not kept by registries
// but fetched from the addresses in the manifest, and must not be pushed.
func isForeign(mediaType string) bool {
	return strings.HasPrefix(mediaType, "application/vnd.docker.image.rootfs.foreign.") ||
		strings.HasPrefix(mediaType, "application/vnd.oci.image.layer.nondistributable.")
}

// maxURLs is how many addresses of one layer are tried.
const maxURLs = 8

// maxRedirects is how often such an address may lead on.
const maxRedirects = 10

// isLoopback tells whether a host, with or without a port, is this computer by name.
func isLoopback(host string) bool {
	bare := strings.ToLower((&url.URL{Host: host}).Hostname())
	if a, err := netip.ParseAddr(bare); err == nil {
		return a.Unmap().IsLoopback() || a.IsUnspecified()
	}
	return bare == "localhost" || strings.HasSuffix(bare, ".localhost")
}

// foreignURLs are the addresses of a foreign layer. Other layers have none that
// count.
func foreignURLs(l ocispec.Descriptor) []string {
	if !isForeign(l.MediaType) {
		return nil
	}
	return l.URLs[:min(len(l.URLs), maxURLs)]
}

// foreign asks an address that a manifest of the registry e tells. It is shown no
// credentials, and plain HTTP is only for hosts that are listed as insecure. What
// listens on our own loopback is nobody's whose manifest comes from elsewhere.
func (c *Client) foreign(ctx context.Context, e *endpoint, at string, h http.Header) (*http.Response, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return nil, bad("address %q of a foreign layer is none of https:// or http://", at)
	}
	elsewhere := func(u *url.URL) error {
		if isLoopback(u.Host) && !isLoopback(e.host) {
			return bad("address %q of a foreign layer leads to this computer, and registry %s is another", at, e.host)
		}
		return nil
	}
	if err := elsewhere(u); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", at, err)
	}
	if h != nil {
		req.Header = h.Clone()
	}
	base := http.RoundTripper(httpsOnly{c.secure, u.Host})
	if c.isInsecure(ctx, u.Host) {
		base = c.insecure
	}
	client := &http.Client{Transport: transport.NewUserAgent(base, c.cfg.UserAgent), CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects {
			return bad("address %q of a foreign layer leads on more than %d times", at, maxRedirects)
		}
		return elsewhere(r.URL)
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := checked(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		return nil, err
	}
	return resp, nil
}
