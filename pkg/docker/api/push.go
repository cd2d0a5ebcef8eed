package api

import (
	"context"
	"net/http"
	"sync"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/pkg/ioutils"
	"github.com/docker/docker/pkg/progress"
	"github.com/docker/docker/pkg/streamformatter"
)

// credentials are those of the X-Registry-Auth header. As in Docker it is no
// error when none, or bad ones, were given.
func credentials(r *http.Request) spec.Credentials {
	auth, err := registry.DecodeAuthConfig(r.Header.Get(registry.AuthHeader))
	if err != nil || auth == nil {
		return spec.Credentials{}
	}
	return spec.Credentials{Username: auth.Username, Password: auth.Password, Token: auth.IdentityToken, RegistryToken: auth.RegistryToken}
}

// postImagesPush is push. The answer is a stream of progress; an error that comes
// before it is an ordinary one with its status. A client that goes away stops
// the push.
func (s *server) postImagesPush(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	ref, err := engine.PushRef(vars["name"], r.Form.Get("tag"))
	if err != nil {
		return err
	}
	platform, err := formPlatform(ctx, r, "1.46")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	out := ioutils.NewWriteFlusher(w)
	defer out.Close()
	p := streamformatter.NewJSONProgressOutput(out, false)
	var mu sync.Mutex // guards p
	write := func(u progress.Progress) {
		mu.Lock()
		defer mu.Unlock()
		// A client that is gone is found by the request's context.
		_ = p.WriteProgress(u)
	}
	o := engine.PushOptions{PushOptions: spec.PushOptions{Credentials: credentials(r), Platform: platform}}
	o.Progress = func(u spec.Progress) {
		write(progress.Progress{ID: u.ID, Action: u.Status, Current: u.Current, Total: u.Total, LastUpdate: u.Total > 0 && u.Current == u.Total})
	}
	o.Refers = func(repository string) {
		write(progress.Progress{Message: "The push refers to repository [" + repository + "]"})
	}
	o.Pushed = func(d spec.Pushed) {
		write(progress.Progress{Message: engine.PushedLine(d)})
		write(progress.Progress{Aux: types.PushResult{Tag: d.Tag, Digest: d.Digest, Size: d.Size}})
		s.Log.WithFields(map[string]any{"name": reference.FamiliarName(ref) + ":" + d.Tag, "digest": d.Digest}).Info("image pushed")
	}
	if err := s.e.ImagePush(ctx, ref, o); err != nil {
		if !out.Flushed() {
			return err
		}
		_, _ = out.Write(streamformatter.FormatError(err))
	}
	return nil
}
