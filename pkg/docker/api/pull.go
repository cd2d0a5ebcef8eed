package api

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/distribution/reference"
	"github.com/docker/docker/pkg/ioutils"
	"github.com/docker/docker/pkg/progress"
	"github.com/docker/docker/pkg/streamformatter"
)

// postImagesCreate is pull. The answer is a stream of progress; an error that
// comes before it is an ordinary one with its status. A client that goes away
// stops the pull.
func (s *server) postImagesCreate(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	img := r.Form.Get("fromImage")
	if img == "" {
		if r.Form.Get("fromSrc") != "" {
			return s.postImport(ctx, w, r)
		}
		return badRequest("fromImage or fromSrc must be given")
	}
	ref, err := engine.PullRef(img, r.Form.Get("tag"))
	if err != nil {
		return err
	}
	o := spec.PullOptions{Platform: r.Form.Get("platform"), Credentials: credentials(r)}
	w.Header().Set("Content-Type", "application/json")
	out := ioutils.NewWriteFlusher(w)
	defer out.Close()
	if err := s.pullAll(ctx, ref, o, out); err != nil {
		if !out.Flushed() {
			return err
		}
		_, _ = out.Write(streamformatter.FormatError(err))
	}
	return nil
}

// pullAll pulls what ref names: all tags of a repository when it has none.
func (s *server) pullAll(ctx context.Context, ref reference.Named, o spec.PullOptions, out io.Writer) error {
	refs := []reference.Named{ref}
	if reference.IsNameOnly(ref) {
		var err error
		if refs, err = s.e.PullTags(ctx, ref, o.Credentials); err != nil {
			return err
		}
	}
	anything := false
	var p *pullProgress
	for _, one := range refs {
		p = &pullProgress{out: streamformatter.NewJSONProgressOutput(out, false), ref: one}
		o.Progress = p.report
		got, fresh, digest, err := s.e.Pull(ctx, one, o)
		if err != nil {
			return err
		}
		p.begin()
		if digest != "" {
			p.message("", "Digest: "+digest)
		}
		anything = anything || fresh
		s.Log.WithFields(map[string]any{spec.FieldImage: got.ID, "name": reference.FamiliarString(one), "new": fresh}).Info("image pulled")
	}
	status := "Status: Image is up to date for "
	if anything {
		status = "Status: Downloaded newer image for "
	}
	p.message("", status+reference.FamiliarString(ref))
	return nil
}

// pullProgress writes Docker's progress messages. The store may report from
// several goroutines.
type pullProgress struct {
	mu    sync.Mutex // guards all below
	out   progress.Output
	ref   reference.Named
	begun bool
}

func (p *pullProgress) report(u spec.Progress) {
	p.begin()
	p.mu.Lock()
	defer p.mu.Unlock()
	// A client that is gone is found by the request's context.
	_ = p.out.WriteProgress(progress.Progress{ID: u.ID, Action: u.Status, Current: u.Current, Total: u.Total, LastUpdate: u.Total > 0 && u.Current == u.Total})
}

func (p *pullProgress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.begun {
		return
	}
	p.begun = true
	id := ""
	switch r := p.ref.(type) {
	case reference.Digested:
		id = r.Digest().String()
	case reference.Tagged:
		id = r.Tag()
	}
	_ = p.out.WriteProgress(progress.Progress{ID: id, Message: "Pulling from " + reference.Path(p.ref)})
}

func (p *pullProgress) message(id, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.out.WriteProgress(progress.Progress{ID: id, Message: text})
}
