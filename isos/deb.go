package isos

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// dataTar finds the file system archive of a Debian binary package: an ar
// archive (deb(5)) whose member data.tar[.xz|.zst|.gz] is the tree.
func dataTar(r io.Reader) (*tar.Reader, error) {
	b := bufio.NewReader(r)
	magic := make([]byte, 8)
	if _, err := io.ReadFull(b, magic); err != nil || string(magic) != "!<arch>\n" {
		return nil, errors.New("not a Debian package")
	}
	for {
		h := make([]byte, 60) // name 16, date 12, uid 6, gid 6, mode 8, size 10, end 2
		if _, err := io.ReadFull(b, h); err != nil {
			return nil, fmt.Errorf("no data.tar member: %w", err)
		}
		name := strings.TrimRight(string(h[:16]), " /")
		size, err := strconv.ParseInt(strings.TrimSpace(string(h[48:58])), 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("member %q: size %q", name, h[48:58])
		}
		if !strings.HasPrefix(name, "data.tar") {
			if _, err := io.CopyN(io.Discard, b, size+size%2); err != nil {
				return nil, fmt.Errorf("member %q: %w", name, err)
			}
			continue
		}
		body := io.LimitReader(b, size)
		var z io.Reader
		switch name {
		case "data.tar":
			z = body
		case "data.tar.gz":
			z, err = gzip.NewReader(body)
		case "data.tar.xz":
			z, err = xz.NewReader(bufio.NewReaderSize(body, 1<<20))
		case "data.tar.zst":
			z, err = zstd.NewReader(body)
		default:
			err = errors.New("unknown compression")
		}
		if err != nil {
			return nil, fmt.Errorf("member %q: %w", name, err)
		}
		return tar.NewReader(z), nil
	}
}

// extract unpacks the files and symbolic links of a package below dir; owners,
// times and everything else are left out, since manifests say them.
func extract(deb, dir string) error {
	f, err := os.Open(deb)
	if err != nil {
		return err
	}
	defer f.Close()
	t, err := dataTar(f)
	if err != nil {
		return fmt.Errorf("package %s: %w", deb, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("package %s: %w", deb, err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if name == "" {
			continue
		}
		if err := place(root, name, h, t); err != nil {
			return fmt.Errorf("package %s: %s: %w", deb, name, err)
		}
	}
}

func place(root *os.Root, name string, h *tar.Header, r io.Reader) error {
	if h.Typeflag == tar.TypeDir {
		return root.MkdirAll(filepath.FromSlash(name), 0o755)
	}
	if d := path.Dir(name); d != "." {
		if err := root.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
	case tar.TypeReg:
		w, err := root.Create(name)
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			w.Close()
			return err
		}
		return w.Close()
	}
	return fmt.Errorf("type %q is not expected in a package", h.Typeflag)
}
