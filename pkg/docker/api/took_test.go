package api_test

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/api"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
)

// Requests are counted by their routes, whatever is in them, when their answers are
// written.
func TestTook(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	e, err := engine.New(engine.Config{PortLayer: enginetest.New(), Images: enginetest.NewImages(), Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	defer func() { cancel(); <-done }()
	<-e.Ready()
	var got []string
	var answer *httptest.ResponseRecorder
	h, err := api.New(api.Config{Engine: e, Log: logrus.NewEntry(log), Context: ctx, Took: func(method, route string, d time.Duration) {
		if d < 0 || answer.Body.Len() == 0 && method != "HEAD" {
			t.Errorf("%s %s: %s, %d bytes", method, route, d, answer.Body.Len())
		}
		got = append(got, method+" "+route)
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{"GET /v1.51/networks/bridge", "GET /networks/nosuch", "HEAD /_ping", "GET /v1.51/nosuch", "ODD /v1.51/networks/bridge"} {
		method, path, _ := strings.Cut(r, " ")
		answer = httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest(method, path, nil))
	}
	want := []string{"GET /networks/{id:.+}", "GET /networks/{id:.+}", "HEAD /_ping", " ", " "}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
