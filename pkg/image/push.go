package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/spec"
)

// Upload is an image to be pushed.
type Upload struct {
	Manifest Blob
	Config   Blob
	Layers   []Layer // as the manifest has them
	// Open reads a layer as it is kept.
	Open func(context.Context, Layer) (io.ReadCloser, error)
	// From are repositories of the same registry that may have the layers, by
	// the layer's digest: paths as "library/busybox".
	From map[digest.Digest][]string
}

// Push brings an image to the registry under ref, a tag. Layers that the
// registry has are not sent, and those that another of its repositories has are
// mounted from there. The manifest is sent as it is, so the digest at the
// registry is the digest here. progress, which may be nil, gets Docker's words,
// one call at a time.
func (c *Client) Push(ctx context.Context, ref reference.NamedTagged, u Upload, auth Auth, progress func(spec.Progress)) error {
	host := reference.Domain(ref)
	if host == dockerHub {
		host = hubHost
	}
	e, err := c.endpoint(host, reference.Path(ref), c.isInsecure(ctx, host), auth)
	if err != nil {
		return err
	}
	e.push = true
	e.from = sources(u.From)
	p := &push{c: c, e: e, u: u, ref: ref, say: progress}
	for _, l := range p.order() {
		p.tell(l, "Preparing")
	}
	if err := c.connect(ctx, e); err != nil {
		return p.translate(err)
	}
	if err := p.layers(ctx); err != nil {
		return err
	}
	if err := p.small(ctx, u.Config); err != nil {
		return fmt.Errorf("push configuration %s: %w", u.Config.Digest, p.translate(err))
	}
	if err := p.manifest(ctx); err != nil {
		return p.translate(err)
	}
	return nil
}

// sources are all repositories that layers may be mounted from, which the token
// must be for.
func sources(from map[digest.Digest][]string) []string {
	var out []string
	for _, repos := range from {
		out = append(out, repos...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// order are the layers, each once, the topmost first as Docker pushes them.
func (p *push) order() []Layer {
	var out []Layer
	for _, l := range slices.Backward(p.u.Layers) {
		if !slices.ContainsFunc(out, func(o Layer) bool { return o.Digest == l.Digest }) {
			out = append(out, l)
		}
	}
	return out
}

// push is one push under way.
type push struct {
	c   *Client
	e   *endpoint
	u   Upload
	ref reference.NamedTagged

	mu  sync.Mutex // guards say
	say func(spec.Progress)
}

// tell reports on a layer. As in Docker its id is that of the tar here.
func (p *push) tell(l Layer, status string) { p.report(l, status, 0, 0) }

func (p *push) report(l Layer, status string, current, total int64) {
	if p.say == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.say(spec.Progress{ID: Layer{Digest: l.DiffID}.ShortID(), Status: status, Current: current, Total: total})
}

// translate makes a registry's refusal one of a push.
func (p *push) translate(err error) error {
	return translatePush(err, p.ref, p.e)
}

func (p *push) layers(ctx context.Context) error {
	ls := p.order()
	if len(ls) > p.c.cfg.Uploads {
		for _, l := range ls[p.c.cfg.Uploads:] {
			p.tell(l, "Waiting")
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(p.c.cfg.Uploads)
	for _, l := range ls {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.layer(ctx, l); err != nil {
				return fmt.Errorf("push layer %s: %w", l.Digest, p.translate(err))
			}
			return nil
		})
	}
	return g.Wait()
}

func (p *push) layer(ctx context.Context, l Layer) error {
	if isForeign(l.MediaType) {
		p.tell(l, "Skipped foreign layer")
		return nil
	}
	there, err := p.has(ctx, l.Digest)
	if err != nil {
		return err
	}
	if there {
		p.tell(l, "Layer already exists")
		return nil
	}
	for _, from := range p.u.From[l.Digest] {
		to, err := p.start(ctx, url.Values{"mount": {l.Digest.String()}, "from": {from}})
		if err != nil {
			p.c.cfg.Log.WithError(err).WithField("from", from).Debug("layer cannot be mounted")
			continue
		}
		if to == nil {
			p.tell(l, "Mounted from "+from)
			return nil
		}
		// The registry has begun an upload in its place, which is dropped: a
		// failure of that is the registry's to clean up.
		_ = p.cancel(ctx, to)
	}
	err = p.c.retryTelling(ctx, func(wait time.Duration) {
		if status := retrying(wait); status != "" {
			p.tell(l, status)
		}
	}, func() (bool, error) {
		r, err := p.u.Open(ctx, l)
		if err != nil {
			return false, &spoolError{err}
		}
		defer r.Close() // only read
		return false, p.upload(ctx, l.Digest, l.Size, p.watch(ctx, l, r))
	})
	if err != nil {
		return err
	}
	p.tell(l, "Pushed")
	return nil
}

// watch reports how far a layer is sent.
func (p *push) watch(ctx context.Context, l Layer, r io.Reader) io.Reader {
	p.report(l, "Pushing", 0, l.Size)
	return &watched{ctx: ctx, r: r, say: func(n int64) { p.report(l, "Pushing", n, l.Size) }}
}

type watched struct {
	ctx  context.Context
	r    io.Reader
	say  func(int64)
	n    int64
	last time.Time
}

func (w *watched) Read(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.r.Read(b)
	w.n += int64(n)
	if now := time.Now(); now.Sub(w.last) > 100*time.Millisecond || err != nil {
		w.last = now
		w.say(w.n)
	}
	return n, err
}

// has asks whether the repository has a blob.
func (p *push) has(ctx context.Context, d digest.Digest) (bool, error) {
	var there bool
	err := p.c.retry(ctx, func() (bool, error) {
		resp, err := p.do(ctx, http.MethodHead, p.e.url(p.e.repo+"/blobs/"+d.String()), nil, 0, "", http.StatusOK, http.StatusNotFound)
		if err != nil {
			return false, err
		}
		resp.Body.Close() // a HEAD has none
		there = resp.StatusCode == http.StatusOK
		return false, nil
	})
	return there, err
}

// start begins an upload and gives its address, nil when a mount made it
// needless.
func (p *push) start(ctx context.Context, q url.Values) (*url.URL, error) {
	at := p.e.url(p.e.repo + "/blobs/uploads/")
	at.RawQuery = q.Encode()
	resp, err := p.do(ctx, http.MethodPost, at, nil, 0, "", http.StatusCreated, http.StatusAccepted)
	if err != nil {
		return nil, err
	}
	resp.Body.Close() // nothing in it counts
	if resp.StatusCode == http.StatusCreated {
		if q.Get("mount") == "" {
			return nil, bad("registry %s: it answered an upload that has no content with 201", p.e.host)
		}
		return nil, nil
	}
	to, err := at.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return nil, bad("registry %s: it tells no address to upload to", p.e.host)
	}
	return to, nil
}

func (p *push) cancel(ctx context.Context, to *url.URL) error {
	resp, err := p.do(ctx, http.MethodDelete, to, nil, 0, "", http.StatusOK, http.StatusNoContent, http.StatusAccepted, http.StatusNotFound)
	if err == nil {
		resp.Body.Close() // nothing in it counts
	}
	return err
}

// upload sends a blob in one piece.
func (p *push) upload(ctx context.Context, d digest.Digest, size int64, r io.Reader) error {
	to, err := p.start(ctx, nil)
	if err != nil {
		return err
	}
	q := to.Query()
	q.Set("digest", d.String())
	to.RawQuery = q.Encode()
	resp, err := p.do(ctx, http.MethodPut, to, r, size, "application/octet-stream", http.StatusCreated, http.StatusNoContent)
	if err != nil {
		return err
	}
	resp.Body.Close() // nothing in it counts
	return nil
}

// small sends a blob that is in memory unless it is there.
func (p *push) small(ctx context.Context, b Blob) error {
	there, err := p.has(ctx, b.Digest)
	if err != nil || there {
		return err
	}
	return p.c.retry(ctx, func() (bool, error) {
		return false, p.upload(ctx, b.Digest, int64(len(b.Data)), bytes.NewReader(b.Data))
	})
}

// manifest sends the manifest under the tag, and checks that the registry keeps
// these very bytes.
func (p *push) manifest(ctx context.Context) error {
	m := p.u.Manifest
	return p.c.retry(ctx, func() (bool, error) {
		at := p.e.url(p.e.repo + "/manifests/" + p.ref.Tag())
		resp, err := p.do(ctx, http.MethodPut, at, bytes.NewReader(m.Data), int64(len(m.Data)), m.MediaType, http.StatusCreated, http.StatusOK, http.StatusAccepted)
		if err != nil {
			return false, err
		}
		resp.Body.Close() // nothing in it counts
		if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != m.Digest.String() {
			return false, mismatch("manifest of "+reference.FamiliarString(p.ref), m.Digest, digest.Digest(got))
		}
		return false, nil
	})
}

// do sends a request; an answer that is none of ok is a *transport.Error.
func (p *push) do(ctx context.Context, method string, at *url.URL, body io.Reader, size int64, kind string, ok ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", at.Redacted(), err)
	}
	if body != nil {
		req.ContentLength = size
		if size == 0 {
			req.Body = http.NoBody
		}
		req.Header.Set("Content-Type", kind)
	}
	resp, err := p.e.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := checked(resp, ok...); err != nil {
		return nil, err
	}
	return resp, nil
}

// translatePush is translate for what a registry refuses of a push.
func translatePush(err error, asked reference.Named, e *endpoint) error {
	var te *transport.Error
	if !errors.As(err, &te) {
		return translate(err, asked, e)
	}
	d := transport.Diagnostic{}
	if len(te.Errors) > 0 {
		d = te.Errors[0]
	}
	switch {
	case te.StatusCode == http.StatusUnauthorized && e.authed, d.Code == transport.UnauthorizedErrorCode && e.authed:
		return &classified{errdefs.ErrUnauthenticated, "unauthorized: " + orText(d.Message, "authentication required"), te}
	case te.StatusCode == http.StatusUnauthorized, te.StatusCode == http.StatusForbidden, d.Code == transport.DeniedErrorCode:
		return &classified{errdefs.ErrPermissionDenied, "denied: " + orText(d.Message, "requested access to the resource is denied"), te}
	case te.StatusCode == http.StatusNotFound, te.StatusCode == http.StatusMethodNotAllowed:
		return &classified{errdefs.ErrNotFound, fmt.Sprintf("registry %s takes no push to %s: %s", e.host, reference.Path(asked), orText(reason(d), te.Error())), te}
	case te.StatusCode/100 == 4 && te.StatusCode != http.StatusTooManyRequests && d.Code != "":
		return &classified{errdefs.ErrInvalidArgument, fmt.Sprintf("registry %s: %s", e.host, reason(d)), te}
	}
	return translate(err, asked, e)
}

func orText(s, otherwise string) string {
	if strings.TrimSpace(s) == "" {
		return otherwise
	}
	return s
}
