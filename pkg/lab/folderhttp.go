package lab

import (
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// serveFolder is /folder/PATH?dcPath=…&dsName=…: the files of datastores.
func (l *Lab) serveFolder(w http.ResponseWriter, r *http.Request) {
	if !l.admitted(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
		http.Error(w, "a session is needed", http.StatusUnauthorized)
		return
	}
	c := l.context(nil)
	ds := l.datastoreOfQuery(c, r.URL.Query())
	if ds == nil {
		http.Error(w, "no such datastore", http.StatusNotFound)
		return
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/folder"), "/")
	_, clean, fault := l.onDatastore(c, datacenterOf(c, ds.Parent), "["+ds.Name+"] "+rel)
	if fault != nil {
		http.Error(w, faultText(fault), http.StatusBadRequest)
		return
	}
	file := filepath.Join(ds.Summary.Url, clean)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		l.download(w, r, c, file)
	case http.MethodPut, http.MethodPost:
		l.upload(w, r, c, ds, file)
	case http.MethodDelete:
		l.remove(w, c, ds, file)
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT, POST, DELETE")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func (l *Lab) datastoreOfQuery(c *simulator.Context, q url.Values) *simulator.Datastore {
	dc := path.Base(q.Get("dcPath"))
	for _, ref := range c.Map.AllReference("Datastore") {
		ds, ok := ref.(*simulator.Datastore)
		if !ok || ds.Name != q.Get("dsName") {
			continue
		}
		if d := datacenterOf(c, ds.Parent); d != nil && (q.Get("dcPath") == "" || d.Name == dc) {
			return ds
		}
	}
	return nil
}

func (l *Lab) download(w http.ResponseWriter, r *http.Request, c *simulator.Context, file string) {
	if filepath.Ext(file) == ".vmx" {
		l.files.flushAll(l, c)
	}
	f, err := os.Open(file)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		http.Error(w, "can't read it", http.StatusInternalServerError)
		return
	}
	if fi.IsDir() {
		list(w, r, f)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", fi.ModTime(), f)
}

// list shows a folder the way browsers and curl users expect.
func list(w http.ResponseWriter, r *http.Request, dir *os.File) {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		http.Error(w, "can't list it", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	base := strings.TrimSuffix(r.URL.Path, "/")
	fmt.Fprintf(w, "<title>Index of %s</title>\n", html.EscapeString(base))
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() {
			name += "/"
		}
		u := url.URL{Path: base + "/" + name, RawQuery: r.URL.RawQuery}
		fmt.Fprintf(w, "<a href=\"%s\">%s</a><br>\n", html.EscapeString(u.String()), html.EscapeString(name))
	}
}

// upload writes beside the file and renames, so that nobody sees half of it.
// POST never overwrites.
func (l *Lab) upload(w http.ResponseWriter, r *http.Request, c *simulator.Context, ds *simulator.Datastore, file string) {
	there := exists(file)
	if fi, err := os.Stat(file); err == nil && fi.IsDir() || r.Method == http.MethodPost && there {
		http.Error(w, "it exists", http.StatusConflict)
		return
	}
	if fault := l.lockedFile(file); fault != nil {
		http.Error(w, faultText(fault), http.StatusConflict)
		return
	}
	_, free := l.usage(ds.Name)
	if r.ContentLength > free {
		insufficient(w, ds)
		return
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		http.Error(w, "can't make the folder", http.StatusInternalServerError)
		return
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".upload-*")
	if err != nil {
		http.Error(w, "can't write", http.StatusInternalServerError)
		return
	}
	_, err = io.Copy(&limitedWriter{w: f, left: free}, r.Body)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		if noSpace(err) {
			insufficient(w, ds)
			return
		}
		l.log.WithError(err).WithField("file", file).Warn("upload")
		http.Error(w, "the upload failed", http.StatusInternalServerError)
		return
	}
	l.measure(c, ds)
	w.WriteHeader(map[bool]int{true: http.StatusOK, false: http.StatusCreated}[there])
}

func insufficient(w http.ResponseWriter, ds *simulator.Datastore) {
	http.Error(w, faultText(&types.NoDiskSpace{Datastore: ds.Name}), http.StatusInsufficientStorage)
}

func (l *Lab) remove(w http.ResponseWriter, c *simulator.Context, ds *simulator.Datastore, file string) {
	fault := l.lockedFile(file)
	switch {
	case !exists(file):
		http.Error(w, "no such file", http.StatusNotFound)
	case fault != nil:
		http.Error(w, faultText(fault), http.StatusConflict)
	case os.Remove(file) != nil:
		http.Error(w, "it can't be removed", http.StatusConflict) // a folder with files in it
	default:
		l.measure(c, ds)
		w.WriteHeader(http.StatusNoContent)
	}
}
