package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/spec"
)

// ShortID is a layer's id in progress messages.
func (l Layer) ShortID() string {
	hex := l.Digest.Encoded()
	return hex[:min(12, len(hex))]
}

// Download fetches the layers, several at once, each to the file that path
// names. A file appears only with the right bytes in it: on any error those of
// this call that are not complete are gone. done, which may be nil, is called
// for each layer as it is complete, from its own goroutine; its error stops the
// rest. progress, which may be nil, gets Docker's words, one call at a time.
func (r *Remote) Download(ctx context.Context, ls []Layer, path func(Layer) string, progress func(spec.Progress), done func(context.Context, Layer) error) error {
	var mu sync.Mutex // guards progress
	say := func(l Layer, status string, current int64) {
		if progress == nil {
			return
		}
		p := spec.Progress{ID: l.ShortID(), Status: status}
		if status == "Downloading" {
			p.Current, p.Total = current, l.Size
		}
		mu.Lock()
		defer mu.Unlock()
		progress(p)
	}
	if len(ls) > r.c.cfg.Parallel {
		for _, l := range ls[r.c.cfg.Parallel:] {
			say(l, "Waiting", 0)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.c.cfg.Parallel)
	for _, l := range ls {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := r.layer(ctx, l, path(l), say); err != nil {
				return err
			}
			say(l, "Download complete", 0)
			if done == nil {
				return nil
			}
			return done(ctx, l)
		})
	}
	return g.Wait()
}

// layer fetches one layer to file and verifies it.
func (r *Remote) layer(ctx context.Context, l Layer, file string, say func(Layer, string, int64)) (err error) {
	what := "layer " + l.Digest.String()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("%s: spool: %w", what, err)
	}
	defer func() {
		cerr := f.Close()
		if err == nil && cerr != nil {
			err = fmt.Errorf("%s: spool: %w", what, cerr)
		}
		if err != nil {
			// What stays would be taken for a layer; the first error counts.
			_ = os.Remove(file)
		}
	}()
	d := &blobDownload{r: r, l: l, f: f, hash: digest.SHA256.Digester()}
	last := time.Time{}
	d.got = func() {
		// Docker's clients redraw at 10 Hz at most.
		if now := time.Now(); now.Sub(last) > 100*time.Millisecond {
			last = now
			say(l, "Downloading", d.have)
		}
	}
	d.waits = func(wait time.Duration) {
		if status := retrying(wait); status != "" {
			say(l, status, 0)
		}
	}
	say(l, "Downloading", 0)
	if err := d.fetch(ctx); err != nil {
		return fmt.Errorf("%s: %w", what, translate(err, r.Ref, r.e))
	}
	say(l, "Downloading", d.have)
	say(l, "Verifying Checksum", 0)
	if got := d.hash.Digest(); got != l.Digest {
		return mismatch(what, l.Digest, got)
	}
	return nil
}

// blobDownload is a layer being fetched, over several connections if need be.
type blobDownload struct {
	r    *Remote
	l    Layer
	f    *os.File
	hash digest.Digester
	have int64
	got  func()
	// waits is told before each pause.
	waits func(time.Duration)
	// open asks for the layer; from is who is asked.
	open func(context.Context, http.Header) (*http.Response, error)
	from string
}

// fetch fetches the layer from the registry; a foreign one that is not there,
// from the addresses in the manifest.
func (d *blobDownload) fetch(ctx context.Context) error {
	again := func() error {
		return d.r.c.retryTelling(ctx, d.waits, func() (bool, error) { return d.attempt(ctx) })
	}
	d.from, d.open = d.r.e.host, func(ctx context.Context, h http.Header) (*http.Response, error) {
		return d.r.get(ctx, "blobs/"+d.l.Digest.String(), h)
	}
	err := again()
	for _, at := range d.l.URLs {
		if err == nil || ctx.Err() != nil {
			return err
		}
		d.r.c.cfg.Log.WithError(err).WithField("url", at).Info("foreign layer is asked for at its address")
		if rerr := d.restart(); rerr != nil {
			return rerr
		}
		d.from, d.open = at, func(ctx context.Context, h http.Header) (*http.Response, error) {
			return d.r.c.foreign(ctx, d.r.e, at, h)
		}
		if ferr := again(); ferr != nil {
			err = &classified{errdefs.ErrUnavailable, fmt.Sprintf("%v; at %s: %v", translate(err, d.r.Ref, d.r.e), at, ferr), nil}
			continue
		}
		return nil
	}
	return err
}

// errTooLong occurs when a registry sends more than the manifest announced.
var errTooLong = errors.New("longer than the manifest says")

// attempt asks for what is missing. It tells whether it got on a good deal.
func (d *blobDownload) attempt(ctx context.Context) (bool, error) {
	if d.have == d.l.Size {
		return true, nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(d.r.c.cfg.Stall, func() {
		cancel(fmt.Errorf("%s sent nothing for %v: %w", d.from, d.r.c.cfg.Stall, errStalled))
	})
	defer stall.Stop()

	h := http.Header{}
	if d.have > 0 {
		h.Set("Range", fmt.Sprintf("bytes=%d-", d.have))
	}
	resp, err := d.open(ctx, h)
	if err != nil {
		return false, causeOf(ctx, err)
	}
	defer resp.Body.Close() // only read
	if d.have > 0 && !continues(resp, d.have) {
		if err := d.restart(); err != nil {
			return false, err
		}
	}
	before := d.have
	buf := make([]byte, 64<<10)
	for {
		n, err := resp.Body.Read(buf)
		stall.Reset(d.r.c.cfg.Stall)
		if n > 0 {
			if d.have+int64(n) > d.l.Size {
				return false, &classified{errdefs.ErrDataLoss, fmt.Sprintf("verification failed: want %d bytes, the registry sends more", d.l.Size), errTooLong}
			}
			if _, err := d.f.Write(buf[:n]); err != nil {
				return false, &spoolError{err}
			}
			d.hash.Hash().Write(buf[:n]) // a hash never fails
			d.have += int64(n)
			d.got()
		}
		onward := d.have-before >= 1<<20
		switch {
		case errors.Is(err, io.EOF) && d.have == d.l.Size:
			return true, nil
		case errors.Is(err, io.EOF):
			return onward, fmt.Errorf("%s: %d of %d bytes: %w", d.from, d.have, d.l.Size, errShort)
		case err != nil:
			return onward, causeOf(ctx, fmt.Errorf("%s: %d of %d bytes: %w", d.from, d.have, d.l.Size, err))
		}
	}
}

// continues tells whether an answer starts at byte have.
func continues(resp *http.Response, have int64) bool {
	return resp.StatusCode == http.StatusPartialContent &&
		strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have))
}

// restart forgets what came, for a registry that cannot continue.
func (d *blobDownload) restart() error {
	if err := d.f.Truncate(0); err != nil {
		return &spoolError{err}
	}
	if _, err := d.f.Seek(0, io.SeekStart); err != nil {
		return &spoolError{err}
	}
	d.have, d.hash = 0, digest.SHA256.Digester()
	return nil
}

// spoolError is a failure on this side, which no retry mends.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return "spool: " + e.err.Error() }
func (e *spoolError) Unwrap() error { return e.err }

// errStalled occurs when a registry keeps a connection but sends nothing.
var errStalled = errors.New("connection stalled")

// causeOf gives the reason why ctx ended, if it is our own.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, errStalled) {
		return cause
	}
	return err
}

// retry calls try until it succeeds, fails for good, or has failed Attempts
// times without getting on. A registry that tells when to ask again is asked then.
func (c *Client) retry(ctx context.Context, try func() (onward bool, err error)) error {
	return c.retryTelling(ctx, func(time.Duration) {}, try)
}

// retryTelling is retry that tells of each pause before it.
func (c *Client) retryTelling(ctx context.Context, tell func(time.Duration), try func() (onward bool, err error)) error {
	var waited time.Duration // without getting on
	for failed := 0; ; {
		onward, err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if onward {
			failed, waited = 0, 0
		}
		failed++
		again, wait := failed < c.cfg.Attempts && temporary(err), time.Duration(0)
		if again {
			wait, again = c.waitFor(err, failed, waited)
		}
		if !again {
			if errors.Is(err, errShort) || errors.Is(err, errStalled) || errors.Is(err, io.ErrUnexpectedEOF) {
				return &classified{errdefs.ErrUnavailable, err.Error(), err}
			}
			return err
		}
		waited += wait
		c.cfg.Log.WithError(err).Debug("ask the registry again")
		tell(wait)
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// temporary tells whether asking again may help.
func temporary(err error) bool {
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode >= 500 || te.StatusCode == http.StatusRequestTimeout || te.StatusCode == http.StatusTooManyRequests
	}
	var se *spoolError
	var ce *classified
	return !errors.As(err, &se) && !errors.As(err, &ce)
}
