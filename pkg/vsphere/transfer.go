package vsphere

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// smallFile is how much of an upload is kept in memory, to be sent again.
const smallFile = 64 << 10

// Put writes a file of exactly size bytes from r, replacing one that is there.
// It is not atomic. r may be nil for an empty file.
func (d *Datastore) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	if size <= smallFile {
		return d.putSmall(ctx, p, r, size)
	}
	// Such a body cannot be sent twice, so that a lost session is found before.
	if err := d.s.touch(ctx); err != nil {
		return fmt.Errorf("upload %s: %w", p, err)
	}
	res, err := d.put(ctx, p, r, size)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return statusError("upload", p, res)
}

// putSmall saves the question whether the session is lost, a round trip.
func (d *Datastore) putSmall(ctx context.Context, p string, r io.Reader, size int64) error {
	var b []byte
	if size > 0 {
		var err error
		b, err = io.ReadAll(io.LimitReader(r, size+1))
		if err == nil && int64(len(b)) != size {
			err = fmt.Errorf("it is not of %d bytes: %w", size, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return fmt.Errorf("upload %s: %w", p, err)
		}
	}
	for again := true; ; again = false {
		seen := d.s.Logins()
		res, err := d.put(ctx, p, bytes.NewReader(b), size)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized || !again {
			return statusError("upload", p, res)
		}
		if err := d.s.again(ctx, seen); err != nil {
			return fmt.Errorf("upload %s: %w", p, err)
		}
	}
}

func (d *Datastore) put(ctx context.Context, p string, r io.Reader, size int64) (*http.Response, error) {
	req, err := d.request(ctx, http.MethodPut, p)
	if err != nil {
		return nil, err
	}
	req.Body, req.ContentLength = io.NopCloser(r), size
	if size == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	res, err := d.s.vim.Client.Client.Do(req)
	if err != nil {
		return nil, ctxErr(ctx, Classify(fmt.Errorf("upload %s: %w", p, err)))
	}
	return res, nil
}

// Get reads a file from offset on. size is that of the whole file.
func (d *Datastore) Get(ctx context.Context, p string, offset int64) (r io.ReadCloser, size int64, err error) {
	for again := true; ; again = false {
		seen := d.s.Logins()
		req, err := d.request(ctx, http.MethodGet, p)
		if err != nil {
			return nil, 0, err
		}
		if offset > 0 {
			req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		}
		res, err := d.s.vim.Client.Client.Do(req)
		if err != nil {
			return nil, 0, ctxErr(ctx, Classify(fmt.Errorf("download %s: %w", p, err)))
		}
		if res.StatusCode == http.StatusUnauthorized && again {
			res.Body.Close()
			if err := d.s.again(ctx, seen); err != nil {
				return nil, 0, fmt.Errorf("download %s: %w", p, err)
			}
			continue
		}
		return body(p, res, offset)
	}
}

// body turns the answer to a (ranged) download into a reader.
func body(p string, res *http.Response, offset int64) (io.ReadCloser, int64, error) {
	switch res.StatusCode {
	case http.StatusOK:
		// A server without ranges sends all of it.
		if offset > 0 {
			if _, err := io.CopyN(io.Discard, res.Body, offset); err != nil && err != io.EOF {
				res.Body.Close()
				return nil, 0, Classify(fmt.Errorf("download %s: %w", p, err))
			}
		}
		return res.Body, res.ContentLength, nil
	case http.StatusPartialContent:
		return res.Body, wholeSize(res, offset), nil
	case http.StatusRequestedRangeNotSatisfiable:
		// Nothing after offset, which is not an error of the reader of a file
		// that grows.
		res.Body.Close()
		return http.NoBody, wholeSize(res, offset), nil
	}
	err := statusError("download", p, res)
	res.Body.Close()
	return nil, 0, err
}

// wholeSize reads "bytes 5-9/10" or "bytes */10".
func wholeSize(res *http.Response, offset int64) int64 {
	_, total, _ := strings.Cut(res.Header.Get("Content-Range"), "/")
	if n, err := strconv.ParseInt(total, 10, 64); err == nil {
		return n
	}
	if res.ContentLength > 0 && res.StatusCode == http.StatusPartialContent {
		return offset + res.ContentLength
	}
	return offset
}

// request addresses a file under /folder with the session's cookie.
func (d *Datastore) request(ctx context.Context, method, p string) (*http.Request, error) {
	rel, err := d.rel(p)
	if err != nil {
		return nil, err
	}
	if rel == "" {
		return nil, fmt.Errorf("%s is not a file: %w", p, errdefs.ErrInvalidArgument)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.ds.NewURL(rel).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("address %s: %w", p, err)
	}
	return req, nil
}

// statusError gives the class of an HTTP answer of the datastore server.
func statusError(verb, p string, res *http.Response) error {
	class := error(nil)
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return nil
	case http.StatusNotFound:
		class = errdefs.ErrNotFound
	case http.StatusUnauthorized:
		class = errdefs.ErrUnauthenticated
	case http.StatusForbidden:
		class = errdefs.ErrPermissionDenied
	case http.StatusConflict:
		class = errdefs.ErrConflict
	case http.StatusInsufficientStorage:
		class = errdefs.ErrResourceExhausted
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		class = errdefs.ErrUnavailable
	default:
		class = errdefs.ErrUnknown
	}
	return fmt.Errorf("%s %s: server answers %s: %w", verb, p, res.Status, class)
}
