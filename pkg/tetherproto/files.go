package tetherproto

import (
	"bufio"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/spec"
)

// chanFiles is an operation on the container's files: the extra data is a
// spec.FileRequest. What either side sends is one deflate stream, since the line
// is slower than any compression: a tar, or JSON values of one line each. A
// stream that is cut is told from one that ended by its last block.
const chanFiles = "vic-files@1"

// callPowerOff ends a guest that runs no process.
const callPowerOff = "power-off"

// maxLine bounds one JSON value of a guest, in bytes: a path of 4 KiB, each of
// whose bytes may be escaped as six, twice.
const maxLine = 64 << 10

// maxChanges bounds a list of changes of a guest, in bytes of its JSON.
const maxChanges = 64 << 20

// FileHandler is a Handler that serves the container's files.
type FileHandler interface {
	// Files does q. What the engine sends is read from s.Stdin, what it gets is
	// written to s.Stdout, both compressed. A path that is not there is
	// ErrNotFound; what is the request's fault ErrInvalidArgument.
	Files(ctx context.Context, q spec.FileRequest, s IO) error
}

// PowerHandler is a Handler whose guest can be asked to end.
type PowerHandler interface {
	// PowerOff lets the guest write everything out and turn itself off, after
	// it has returned. ErrConflict while the container's process runs or may.
	PowerOff(ctx context.Context) error
}

func (s *ServerConn) files(ctx context.Context, c ssh.NewChannel) error {
	h, ok := s.h.(FileHandler)
	if !ok {
		return c.Reject(ssh.UnknownChannelType, "files are not served by this guest")
	}
	var q spec.FileRequest
	if err := decode(c.ExtraData(), &q); err != nil {
		return c.Reject(ssh.ConnectionFailed, err.Error())
	}
	o, err := accept(ctx, c)
	if err != nil {
		return err
	}
	err = h.Files(o.ctx, q, o.streams(AttachRequest{Stdin: true, Stdout: true}))
	o.end(reply{Error: toWire(err)})
	return err
}

func (s *ServerConn) powerOff(ctx context.Context) error {
	h, ok := s.h.(PowerHandler)
	if !ok {
		return fmt.Errorf("turning this guest off: %w", errdefs.ErrNotImplemented)
	}
	return h.PowerOff(ctx)
}

// PowerOff asks a guest that runs no process to write everything out and turn
// itself off.
func (c *Client) PowerOff(ctx context.Context) error {
	_, err := c.call(ctx, callRequest{Method: callPowerOff})
	return err
}

// StatFile tells about one file.
func (c *Client) StatFile(ctx context.Context, path string) (spec.FileStat, error) {
	var st spec.FileStat
	err := c.files(ctx, spec.FileRequest{Op: spec.FileOpStat, Path: path}, nil, func(r *bufio.Reader) (err error) {
		st, err = readStat(r)
		return err
	})
	return st, err
}

// GetFiles writes a tar of the file or folder path to what begin gives once it
// is known what path is.
func (c *Client) GetFiles(ctx context.Context, path string, begin func(spec.FileStat) (io.Writer, error)) error {
	return c.files(ctx, spec.FileRequest{Op: spec.FileOpGet, Path: path}, nil, func(r *bufio.Reader) error {
		st, err := readStat(r)
		if err != nil {
			return err
		}
		w, err := begin(st)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return err
	})
}

// PutFiles unpacks a tar, which is not compressed, into the folder q.Path. When
// it fails, what the tar had before that stays. A Read of in that is under way
// then is the caller's to end.
func (c *Client) PutFiles(ctx context.Context, q spec.FileRequest, in io.Reader) error {
	q.Op = spec.FileOpPut
	return c.files(ctx, q, in, nil)
}

// Changes gives how the container's files differ from its image's.
func (c *Client) Changes(ctx context.Context) ([]spec.FileChange, error) {
	var out []spec.FileChange
	err := c.files(ctx, spec.FileRequest{Op: spec.FileOpChanges}, nil, func(r *bufio.Reader) (err error) {
		out, err = readChanges(r)
		return err
	})
	return out, err
}

// Export writes a tar of all files, without what is mounted.
func (c *Client) Export(ctx context.Context, w io.Writer) error {
	return c.tar(ctx, spec.FileOpExport, w)
}

// Layer writes a tar of what differs from the image, with OCI's whiteouts.
func (c *Client) Layer(ctx context.Context, w io.Writer) error {
	return c.tar(ctx, spec.FileOpLayer, w)
}

func (c *Client) tar(ctx context.Context, op spec.FileOp, w io.Writer) error {
	return c.files(ctx, spec.FileRequest{Op: op}, nil, func(r *bufio.Reader) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// files does q: in, when there is any, is sent compressed, and read, when there
// is one, gets what the guest sends. The guest's own error comes first: what it
// has sent until then cannot be whole.
func (c *Client) files(ctx context.Context, q spec.FileRequest, in io.Reader, read func(*bufio.Reader) error) error {
	fail := func(err error) error {
		if q.Path == "" {
			return fmt.Errorf("%s files: %w", q.Op, err)
		}
		return fmt.Errorf("%s files of %s: %w", q.Op, q.Path, err)
	}
	o, err := c.open(ctx, chanFiles, q)
	if err != nil {
		return fail(err)
	}
	defer o.close()
	stop := context.AfterFunc(ctx, o.close)
	defer stop()
	// Ends with in, or when the channel is closed.
	z := deflated(in)
	defer z.Close()
	go o.feed(z)
	var ours error
	if read != nil {
		r := bufio.NewReader(flate.NewReader(o.ch))
		if ours = read(r); ours == nil {
			_, ours = io.Copy(io.Discard, r) // to the stream's end
		}
		if ours != nil && !errors.Is(ours, io.ErrUnexpectedEOF) {
			return fail(ours)
		}
	} else if _, err := io.Copy(io.Discard, o.ch); err != nil {
		return fail(err)
	}
	if ctx.Err() != nil {
		return fail(ctx.Err())
	}
	r, err := o.wait(ctx)
	if err != nil {
		return fail(err)
	}
	if err := r.Error.err(); err != nil {
		return err // in words for a user
	}
	if ours != nil {
		return fail(ours)
	}
	return nil
}

// deflated gives in compressed; nil is an empty stream. When in fails, so does
// the result, without its last block. To be closed when nobody reads it any more.
func deflated(in io.Reader) io.ReadCloser {
	if in == nil {
		return io.NopCloser(eof{})
	}
	r, w := io.Pipe()
	go func() {
		z, err := flate.NewWriter(w, flate.BestSpeed)
		if err == nil {
			_, err = io.Copy(z, in)
			if err == nil {
				err = z.Close()
			} else {
				err = errors.Join(err, z.Flush()) // what came until then is worth something
			}
		}
		_ = w.CloseWithError(err) // nil is the end
	}()
	return r
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// readStat reads what a guest says of a file, which may be anything.
func readStat(r *bufio.Reader) (spec.FileStat, error) {
	var st spec.FileStat
	line, err := readLine(r)
	if err != nil {
		return st, err
	}
	if err := decode(line, &st); err != nil {
		return spec.FileStat{}, fmt.Errorf("stat of the guest: %w", err)
	}
	if st.Name == "" || st.Size < 0 {
		return spec.FileStat{}, fmt.Errorf("stat of the guest has no name, or a size below zero: %w", errdefs.ErrInternal)
	}
	return st, nil
}

// readLine gives the next line without its end. io.ErrUnexpectedEOF when there
// is none.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, more, err := r.ReadLine()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, fmt.Errorf("a line of the guest is longer than %d bytes: %w", maxLine, errdefs.ErrInternal)
		}
		if !more {
			return line, nil
		}
	}
}

// readChanges reads a list of changes of a guest, which may be anything.
func readChanges(r io.Reader) ([]spec.FileChange, error) {
	out := []spec.FileChange{}
	limited := &io.LimitedReader{R: r, N: maxChanges}
	d := json.NewDecoder(limited)
	for {
		var c spec.FileChange
		err := d.Decode(&c)
		switch {
		case limited.N <= 0:
			return nil, fmt.Errorf("the list of changes is longer than %d MiB: %w", maxChanges>>20, errdefs.ErrResourceExhausted)
		case errors.Is(err, io.EOF):
			return out, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, err
		case err != nil:
			return nil, fmt.Errorf("list of changes of the guest: %w: %w", err, errdefs.ErrInternal)
		case c.Kind > spec.FileDeleted || c.Path == "" || c.Path[0] != '/':
			return nil, fmt.Errorf("list of changes of the guest: %q, kind %d: %w", c.Path, c.Kind, errdefs.ErrInternal)
		}
		out = append(out, c)
	}
}
