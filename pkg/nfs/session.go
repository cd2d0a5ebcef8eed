package nfs

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/containerd/errdefs"
)

// status is nfsstat3 (RFC 1813, 2.6). As an error it has a class.
type status uint32

const (
	statPerm      status = 1
	statNoEnt     status = 2
	statAccess    status = 13
	statExist     status = 17
	statNotDir    status = 20
	statTooBig    status = 27
	statNoSpace   status = 28
	statReadOnly  status = 30
	statNotEmpty  status = 66
	statQuota     status = 69
	statStale     status = 70
	statBadHandle status = 10001
)

func (s status) Error() string {
	names := map[status]string{
		statPerm: "not permitted", statNoEnt: "no such file or folder", statAccess: "permission denied by the server (which user may write there? see uid= and gid=)",
		statExist: "it exists", statNotDir: "not a folder", statTooBig: "too large", statNoSpace: "no space left on the server",
		statReadOnly: "the export is read-only", statNotEmpty: "the folder is not empty", statQuota: "over the quota",
		statStale: "the server has forgotten it", statBadHandle: "the server has forgotten it",
	}
	if n := names[s]; n != "" {
		return n
	}
	return fmt.Sprintf("NFS status %d", uint32(s))
}

// Is makes a status one of the classes of errdefs.
func (s status) Is(target error) bool {
	var class error = errdefs.ErrInternal
	switch s {
	case statNoEnt:
		class = errdefs.ErrNotFound
	case statPerm, statAccess, statReadOnly:
		class = errdefs.ErrPermissionDenied
	case statExist:
		class = errdefs.ErrAlreadyExists
	case statNotDir, statTooBig, statNotEmpty:
		class = errdefs.ErrFailedPrecondition
	case statNoSpace, statQuota:
		class = errdefs.ErrResourceExhausted
	case statStale, statBadHandle:
		class = errdefs.ErrUnavailable
	}
	return target == class
}

// The procedures (RFC 1813, 3.3).
const (
	procLookup      = 3
	procRead        = 6
	procWrite       = 7
	procCreate      = 8
	procMkdir       = 9
	procRemove      = 12
	procRmdir       = 13
	procRename      = 14
	procReadDirPlus = 17
	procFSStat      = 18
)

const (
	chunk    = 32 << 10 // of a read or write; what every server takes
	fileSync = 2        // a write is answered when it is on disk
	dirBytes = 32 << 10 // of an answer that lists a folder
)

// attr is what of fattr3 is of use.
type attr struct {
	kind uint32 // 2: folder
	size uint64
}

func (a attr) dir() bool { return a.kind == 2 }

func (a attr) entry(name string) Entry {
	return Entry{Name: name, Dir: a.dir(), Size: int64(min(a.size, math.MaxInt64))}
}

func (d *decoder) attr() attr {
	a := attr{kind: d.u32()}
	d.take(16) // mode, links, uid, gid
	a.size = d.u64()
	d.take(56) // used, device, filesystem, file id, three times
	return a
}

// optionalAttr is post_op_attr.
func (d *decoder) optionalAttr() (a attr, ok bool) {
	if ok = d.bool(); ok {
		a = d.attr()
	}
	return a, ok && d.err == nil
}

// session is a connection in use by one request.
type session struct {
	ctx  context.Context
	w    *wire
	root []byte
}

// call is one NFS procedure; a status that is not 0 is the error.
func (s *session) call(proc uint32, args *encoder) (*decoder, error) {
	d, err := s.w.call(s.ctx, progNFS, versNFS, proc, args.b)
	if err != nil {
		return nil, err
	}
	if st := status(d.u32()); d.err == nil && st != 0 {
		return nil, st
	}
	return d, d.failed()
}

func (d *decoder) failed() error {
	if d.err != nil {
		return fmt.Errorf("%w: %w", d.err, errdefs.ErrUnavailable)
	}
	return nil
}

// walk goes from the root by folders' names. Links are not followed.
func (s *session) walk(names []string) (fh []byte, a attr, err error) {
	fh, a = s.root, attr{kind: 2}
	for _, n := range names {
		if fh, a, err = s.lookup(fh, n); err != nil {
			return nil, attr{}, err
		}
	}
	return fh, a, nil
}

// parent gives the folder that name is in, and its last part.
func (s *session) parent(name string) (dir []byte, base string, err error) {
	names := split(name)
	if len(names) == 0 {
		return nil, "", fmt.Errorf("the share itself: %w", errdefs.ErrInvalidArgument)
	}
	dir, _, err = s.walk(names[:len(names)-1])
	return dir, names[len(names)-1], err
}

func (s *session) lookup(dir []byte, name string) ([]byte, attr, error) {
	d, err := s.call(procLookup, new(encoder).opaque(dir).text(name))
	if err != nil {
		return nil, attr{}, err
	}
	fh := slices.Clone(d.opaque(maxHandle))
	a, ok := d.optionalAttr()
	if err := d.failed(); err != nil {
		return nil, attr{}, err
	}
	if !ok {
		return fh, a, fmt.Errorf("attributes of %s are missing: %w", name, errdefs.ErrUnavailable)
	}
	return fh, a, nil
}

// readDir gives what is in a folder, up to limit entries.
func (s *session) readDir(dir []byte, limit int) ([]Entry, error) {
	var out []Entry
	var cookie uint64
	verifier := make([]byte, 8)
	for {
		args := new(encoder).opaque(dir).u64(cookie)
		args.b = append(args.b, verifier...)
		d, err := s.call(procReadDirPlus, args.u32(dirBytes).u32(2*dirBytes))
		if err != nil {
			return nil, err
		}
		d.optionalAttr()
		verifier = slices.Clone(d.take(8))
		list, last, eof := d.entries(cookie)
		if err := d.failed(); err != nil {
			return nil, err
		}
		for _, e := range list {
			if e.Name == "." || e.Name == ".." {
				continue
			}
			if !e.known {
				_, a, err := s.lookup(dir, e.Name)
				if errdefs.IsNotFound(err) {
					continue // removed meanwhile
				}
				if err != nil {
					return nil, err
				}
				e.Entry = a.entry(e.Name)
			}
			if out = append(out, e.Entry); len(out) >= limit {
				return out, nil
			}
		}
		if eof {
			return out, nil
		}
		if last == cookie {
			return nil, fmt.Errorf("the list of a folder does not end: %w", errdefs.ErrUnavailable)
		}
		cookie = last
	}
}

type listed struct {
	Entry
	known bool // the attributes are
}

// entries reads the part of a folder's list after cookie.
func (d *decoder) entries(cookie uint64) (list []listed, last uint64, eof bool) {
	last = cookie
	for d.bool() {
		d.u64() // file id
		name := string(d.opaque(maxName))
		last = d.u64()
		a, known := d.optionalAttr()
		if d.bool() {
			d.opaque(maxHandle)
		}
		if d.err != nil {
			return nil, last, false
		}
		list = append(list, listed{a.entry(name), known})
	}
	return list, last, d.bool()
}

func (s *session) read(fh []byte, limit int64) ([]byte, error) {
	var out []byte
	for {
		d, err := s.call(procRead, new(encoder).opaque(fh).u64(uint64(len(out))).u32(chunk))
		if err != nil {
			return nil, err
		}
		d.optionalAttr()
		d.u32()
		eof := d.bool()
		data := d.opaque(chunk)
		if err := d.failed(); err != nil {
			return nil, err
		}
		if out = append(out, data...); int64(len(out)) > limit {
			return nil, statTooBig
		}
		if eof || len(data) == 0 {
			return out, nil
		}
	}
}

// newAttr is sattr3: a mode, perhaps a size, all else is the server's choice.
func (e *encoder) newAttr(mode uint32, empty bool) *encoder {
	e.u32(1).u32(mode).u32(0).u32(0)
	if empty {
		e.u32(1).u64(0)
	} else {
		e.u32(0)
	}
	return e.u32(0).u32(0)
}

// create makes a file or empties it.
func (s *session) create(dir []byte, name string) ([]byte, error) {
	_, err := s.call(procCreate, new(encoder).opaque(dir).text(name).u32(0).newAttr(0o644, true))
	if err != nil {
		return nil, err
	}
	fh, _, err := s.lookup(dir, name) // a handle in the answer is optional
	return fh, err
}

func (s *session) write(fh, data []byte) error {
	for at := 0; at < len(data); {
		part := data[at:min(at+chunk, len(data))]
		d, err := s.call(procWrite, new(encoder).opaque(fh).u64(uint64(at)).u32(uint32(len(part))).u32(fileSync).opaque(part))
		if err != nil {
			return err
		}
		d.wcc()
		n := d.u32()
		if err := d.failed(); err != nil {
			return err
		}
		if n == 0 || int64(n) > int64(len(part)) {
			return fmt.Errorf("%d of %d bytes were written: %w", n, len(part), errdefs.ErrUnavailable)
		}
		at += int(n)
	}
	return nil
}

// wcc is wcc_data: sizes and times before and after.
func (d *decoder) wcc() {
	if d.bool() {
		d.take(24)
	}
	d.optionalAttr()
}

func (s *session) mkdir(dir []byte, name string) error {
	_, err := s.call(procMkdir, new(encoder).opaque(dir).text(name).newAttr(0o755, false))
	return err
}

func (s *session) rename(fromDir []byte, from string, toDir []byte, to string) error {
	_, err := s.call(procRename, new(encoder).opaque(fromDir).text(from).opaque(toDir).text(to))
	return err
}

// removeBatch is how many entries of a folder are listed before they are removed.
const removeBatch = 1000

func (s *session) removeTree(dir []byte, e Entry) error {
	if !e.Dir {
		_, err := s.call(procRemove, new(encoder).opaque(dir).text(e.Name))
		return err
	}
	fh, _, err := s.lookup(dir, e.Name)
	if err != nil {
		return err
	}
	for {
		list, err := s.readDir(fh, removeBatch)
		if err != nil {
			return err
		}
		for _, inner := range list {
			if err := s.removeTree(fh, inner); err != nil && !errdefs.IsNotFound(err) {
				return fmt.Errorf("%s: %w", inner.Name, err)
			}
		}
		if len(list) < removeBatch {
			break
		}
	}
	_, err = s.call(procRmdir, new(encoder).opaque(dir).text(e.Name))
	return err
}

func (s *session) space() (size, free int64, err error) {
	d, err := s.call(procFSStat, new(encoder).opaque(s.root))
	if err != nil {
		return 0, 0, err
	}
	d.optionalAttr()
	total := d.u64()
	d.u64() // free to root
	avail := d.u64()
	return int64(min(total, math.MaxInt64)), int64(min(avail, math.MaxInt64)), d.failed()
}
